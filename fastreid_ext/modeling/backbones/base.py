"""What our backbones have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.registry import close_matches
from fastreid_ext.utils.logger import get_logger

__all__ = ["Backbone", "OfficialWeights", "choose_variant", "ignore_options", "refuse_options"]

logger = get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class OfficialWeights:
    """Where the ImageNet weights of a backbone are.

    Attributes:
        where: the file's name and address, for people.
        fetch: loads the state dict through the library that publishes it; None: people must fetch the file.
    """

    where: str
    fetch: Callable[[], Mapping[str, Tensor]] | None = None


class Backbone(nn.Module):
    """Base of our backbones. Yours need not derive from it: `feature_dim` and `forward` are enough.

    Attributes:
        feature_dim: channels of the last map.
        new_layers: prefixes of state names that ImageNet weights do not have and that start as the identity.
    """

    feature_dim: int
    new_layers: ClassVar[tuple[str, ...]] = ()

    def last_activations(self) -> Sequence[str]:
        """Names of the ReLUs whose outputs make up the last map; none where this can be seen from running it, which is
        so where the map is the output of one `nn.ReLU` that is called once."""
        return ()

    def official_weights(self) -> OfficialWeights | None:
        """Where this variant's ImageNet weights are; None: nobody publishes any."""
        return None

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published weights under this backbone's state names."""
        return state


def choose_variant(family: str, depth: str, variants: Mapping[str, T]) -> T:
    """The entry of `variants` that MODEL.BACKBONE.DEPTH names.

    Raises:
        ConfigError: there is none; the message lists close matches.
    """
    if depth not in variants:
        matches = close_matches(depth, variants)
        hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
        raise ConfigError(f"{family} has no depth '{depth}' (MODEL.BACKBONE.DEPTH).{hint} Choose {', '.join(variants)}")
    return variants[depth]


def refuse_options(cfg: CfgNode, family: str, options: Iterable[str]) -> None:
    """Options of MODEL.BACKBONE that are on, but that the family does not have.

    Raises:
        ConfigError: one of `options` is true.
    """
    for option in options:
        if cfg.MODEL.BACKBONE[option]:
            raise ConfigError(f"{family} has no variant with MODEL.BACKBONE.{option}: turn it off")


def ignore_options(cfg: CfgNode, family: str, options: Iterable[str]) -> None:
    """Warns of options of MODEL.BACKBONE that are on, but that the family does not have, as FastReID's configs do."""
    for option in options:
        if cfg.MODEL.BACKBONE[option]:
            logger.warning("%s has no such variant: MODEL.BACKBONE.%s changes nothing", family, option)
