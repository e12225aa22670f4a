"""The weighted losses of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.modeling.losses.base import Loss, MapLoss
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["Criterion", "build_criterion"]


class Criterion(nn.Module):
    """Several losses with their weights.

    The losses are part of the model, so that those with weights of their own are trained and saved with it.

    Raises:
        ConfigError: no loss, or two that would be logged under one name.
    """

    def __init__(self, *, losses: Sequence[Loss], scales: Sequence[float] | None = None) -> None:
        super().__init__()
        keys = [loss.key for loss in losses]
        if not keys:
            raise ConfigError("there is nothing to train with: MODEL.LOSSES.NAME is empty")
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ConfigError(f"MODEL.LOSSES.NAME has more than one loss named loss_{twice[0]}: keep one of them")
        self.losses = nn.ModuleDict(dict(zip(keys, losses, strict=True)))
        self.scales = [1.0] * len(keys) if scales is None else list(scales)

    def forward(self, outputs: Mapping[str, Any], pids: Tensor) -> dict[str, Tensor]:
        """Weighted losses by name, `loss_<key>`; their sum is to be minimised.

        A head with several branches returns `{"branches": {name: outputs of the branch}}`: each branch has every loss,
        named `loss_<key>_<branch>`. Losses on the backbone's last map, `outputs["map"]`, are computed once.

        Shape:
            pids: (B,).
            Results: scalars.
        """
        branches: Mapping[str, Mapping[str, Any]] = outputs.get("branches", {}) or {"": outputs}
        of_branches = {
            f"loss_{key}_{branch}" if branch else f"loss_{key}": loss
            for branch, of_branch in branches.items()
            for key, loss in self._losses(of_branch, pids, on_maps=False)
        }
        return of_branches | {f"loss_{key}": loss for key, loss in self._losses(outputs, pids, on_maps=True)}

    def _losses(self, outputs: Mapping[str, Any], pids: Tensor, *, on_maps: bool) -> Iterator[tuple[str, Tensor]]:
        for (key, loss), scale in zip(self.losses.items(), self.scales, strict=True):
            if isinstance(loss, MapLoss) == on_maps:
                if on_maps and "map" not in outputs:
                    raise ConfigError(
                        f"loss_{key} is of the backbone's last map, but this backbone returns neither a tensor nor a "
                        f'dict with "last"'
                    )
                yield key, scale * loss.from_outputs(outputs, pids)  # type: ignore[operator]


def build_criterion(cfg: CfgNode, feature_dim: int | None = None) -> Criterion:
    """The losses of `MODEL.LOSSES.NAME`, each with the `SCALE` of its node.

    Args:
        cfg: a config.
        feature_dim: channels of the backbone's last map, which losses on maps need.

    Raises:
        RegistryError: there is no loss of that name.
        ConfigError: no loss, the same loss twice, or one on maps of which the channels are not known.
    """
    losses = [_build_loss(name, cfg, feature_dim) for name in cfg.MODEL.LOSSES.NAME]
    return Criterion(losses=losses, scales=[loss.scale(cfg) for loss in losses])


def _build_loss(name: str, cfg: CfgNode, feature_dim: int | None) -> Loss:
    make = LOSSES.get(name)
    if not (isinstance(make, type) and issubclass(make, MapLoss)):
        loss: Loss = make(cfg)
        return loss
    if feature_dim is None:
        raise ConfigError(
            f"{name} is a loss on the backbone's last map, and nobody said how many channels that has: "
            f"build_criterion(cfg, feature_dim=backbone.feature_dim)"
        )
    return make(cfg, feature_dim=feature_dim)
