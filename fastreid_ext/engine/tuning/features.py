"""The features of a validation set under any setting, from as few passes over its images as can be."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.engine.tuning.every_pooling import EveryPooling, mixed, trained_alpha
from fastreid_ext.engine.tuning.setting import Setting
from fastreid_ext.evaluation.extraction import extract
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.inference import eval_mode
from fastreid_ext.evaluation.strategies import InferenceStrategies
from fastreid_ext.modeling.last_layers import Place, dropping_poolings, last_activations, pooling_layers
from fastreid_ext.utils.logger import get_logger

__all__ = ["COARSE_ALPHAS", "COARSE_SLOPES", "Choices", "SettingFeatures"]

COARSE_ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
COARSE_SLOPES = (0.1, 0.3, 0.5, 1.0)
_FINE = tuple(step / 100 for step in range(101))

_PROBED_IMAGES = 2
# Far outside of what is offered, too, where a head that is not affine shows it.
_PROBED = ((0.37, 0.6), (-30.0, 5.0), (40.0, 20.0))
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Choices:
    """What there is to choose from.

    Attributes:
        strategies: that the model can have.
        alphas: of the mixed pooling.
        slopes: of the leaky ReLU.
        slope_alone: whether a leaky ReLU goes with the pooling as it was trained.
    """

    strategies: tuple[str, ...]
    alphas: tuple[float, ...]
    slopes: tuple[float, ...]
    slope_alone: bool = True


class SettingFeatures:
    """Features of a data set by setting: from one extraction where the head is affine behind its pooling.

    Where it is not, or where the pooling is no module of its own, each (pooling, slope) takes an extraction of its own,
    and few of them are offered. Mirror images go along, so that `flip` costs no other extraction.

    Args:
        cfg: the config; its `TEST` block may turn strategies on, which are then the `base`.
        model: takes a batch dict; neither compiled nor wrapped.
        dataset: to evaluate on.
        strategies: to search.
        trained_on: the model's training sets, see `evaluate`.

    Attributes:
        base: the config's setting without the strategies to search.
        choices: what of them the model can have, and which values.
        extractions: passes over the images so far.
        seconds: that these took.

    Raises:
        ConfigError: the model cannot have what the config turns on, or nothing of what is to be searched.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        dataset: ReIDDataset,
        strategies: Collection[str],
        *,
        trained_on: Sequence[ReIDDataset | str] | None = None,
    ) -> None:
        self.model, self.dataset, self.trained_on = model, dataset, trained_on
        configured = Setting.from_config(cfg)
        self.base = configured.without(strategies)
        self.extractions, self.seconds = 0, 0.0
        self._cfg = _with_nothing(cfg)
        self._stores = ImageStores.from_config(cfg, next(model.parameters()).device)
        self._found: dict[tuple[float | None, float | None], tuple[FeatureSet, list[Tensor]]] = {}
        wanted = {*strategies, *self.base.strategies}
        self._poolings = _places(model, "mixed_pool", wanted, self.base)
        self._activations = _places(model, "leaky_relu", wanted, self.base)
        if self._activations and not self._poolings and "mixed_pool" not in wanted:
            # A slope is a matter of how the map is pooled.
            self._poolings = _places(model, "mixed_pool", {"mixed_pool"}, Setting())
        self._trained = trained_alpha(self._poolings) if self._poolings else None
        self._wrapped = self._wrapper()
        self.in_one_pass = self._has_all(strategies) and self._is_exact()
        if not self.in_one_pass:
            self._wrapped = EveryPooling(model, activations=[], poolings=[], flip="flip" in wanted)
        self.choices = self._choices(list(strategies))

    @property
    def most_extractions(self) -> int:
        """Passes over the images that a search may take, at most."""
        if self.in_one_pass:
            return 1
        pools = 1 + len(self.choices.alphas) * ("mixed_pool" in self.choices.strategies)
        return pools * (1 + len(self.choices.slopes) * ("leaky_relu" in self.choices.strategies))

    def of(self, setting: Setting) -> FeatureSet:
        """The features under a setting's pooling, slope and flip; the rest of it is a matter of the evaluation."""
        one = self.in_one_pass
        features, sides = self._extracted(None if one else setting.alpha, None if one else setting.slope)
        if one:
            sides = [
                mixed(
                    dict(zip(self._statistics, side.chunk(len(self._statistics), dim=1), strict=True)),
                    self._trained if setting.alpha is None else setting.alpha,
                    setting.slope,
                )
                for side in sides
            ]
        return replace(features, values=(sides[0] + sides[1]) / 2 if setting.flip else sides[0])

    def _extracted(self, alpha: float | None, slope: float | None) -> tuple[FeatureSet, list[Tensor]]:
        """Features, and their columns of the images and of the mirror images."""
        if (alpha, slope) not in self._found:
            start = time.perf_counter()
            with InferenceStrategies(alpha, slope).applied(self.model):
                features, _ = extract(
                    self._cfg, self._wrapped, self.dataset, trained_on=self.trained_on, stores=self._stores
                )
            self.extractions += 1
            self.seconds += time.perf_counter() - start
            self._found[alpha, slope] = features, list(features.values.chunk(self._sides, dim=1))
        return self._found[alpha, slope]

    @property
    def _statistics(self) -> list[str]:
        return [statistic for statistic, mirrored in self._wrapped.rows if not mirrored]

    @property
    def _sides(self) -> int:
        return len({mirrored for _, mirrored in self._wrapped.rows})

    def _wrapper(self, *, flip: bool = True) -> EveryPooling:
        return EveryPooling(self.model, activations=self._activations, poolings=self._poolings, flip=flip)

    def _has_all(self, strategies: Collection[str]) -> bool:
        """Whether the statistics can make what is asked for: no slope under a pooling that is no mixed one."""
        if not self._activations or self._trained is not None:
            return True
        keeps_trained = "mixed_pool" not in strategies and self.base.alpha is None
        return bool(self._poolings) and self.base.slope is None and not keeps_trained

    @torch.no_grad()
    def _is_exact(self) -> bool:
        """Whether one extraction gives what the strategies do, tried out on noise."""
        device = next(self.model.parameters()).device
        noise = torch.rand(_PROBED_IMAGES, 3, *self._cfg.INPUT.SIZE_TEST, generator=torch.Generator().manual_seed(0))
        batch = {"images": (255 * noise).to(device)}
        wrapper = self._wrapper(flip=False)
        with eval_mode(self.model):
            parts = wrapper(batch).chunk(len(wrapper.rows), dim=1)
            embeddings = dict(zip((name for name, _ in wrapper.rows), parts, strict=True))
            for probed_alpha, probed_slope in _PROBED:
                alpha, slope = probed_alpha if self._poolings else None, probed_slope if self._activations else None
                with InferenceStrategies(alpha, slope).applied(self.model):
                    expected = self.model(batch).float()
                tolerance = _TOLERANCE * float(expected.abs().max())
                if not torch.allclose(mixed(embeddings, alpha, slope), expected, rtol=_TOLERANCE, atol=tolerance):
                    return False
        return True

    def _choices(self, strategies: Sequence[str]) -> Choices:
        lacking = {"mixed_pool": self._poolings, "leaky_relu": self._activations}
        possible = tuple(name for name in strategies if lacking.get(name, True))
        # A leaky ReLU by itself says nothing where the trained pooling drops negative values.
        dropped = self.base.alpha is None and bool(dropping_poolings(self.model))
        if dropped and "mixed_pool" not in possible:
            possible = tuple(name for name in possible if name != "leaky_relu")
        if not possible:
            raise ConfigError(f"the model can have none of {', '.join(strategies)}: there is nothing to search")
        if not self.in_one_pass:
            return Choices(possible, COARSE_ALPHAS, COARSE_SLOPES, not dropped)
        alphas = tuple(alpha for alpha in _FINE if alpha != self._trained)
        return Choices(possible, alphas, _FINE[1:], self._trained is not None)


def _with_nothing(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    for strategy in ("MIXED_POOL", "LEAKY_RELU", "FLIP"):
        cfg.TEST[strategy].ENABLED = False
    cfg.freeze()
    return cfg


def _places(model: nn.Module, strategy: str, wanted: Collection[str], base: Setting) -> list[Place]:
    """Where a strategy changes the model; nowhere when the model cannot have it and need not."""
    if strategy not in wanted:
        return []
    try:
        return pooling_layers(model) if strategy == "mixed_pool" else last_activations(model)
    except ConfigError as error:
        if strategy in base.strategies:
            raise
        get_logger(__name__).warning(f"{strategy} is left out: {error}")
        return []
