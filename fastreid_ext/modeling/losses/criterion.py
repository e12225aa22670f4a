"""The weighted losses of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.modeling.losses.base import Loss
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
        named `loss_<key>_<branch>`.

        Shape:
            pids: (B,).
            Results: scalars.
        """
        branches: Mapping[str, Mapping[str, Any]] = outputs.get("branches", {})
        if not branches:
            return self._losses(outputs, pids, "")
        return {
            name: loss
            for branch, of_branch in branches.items()
            for name, loss in self._losses(of_branch, pids, f"_{branch}").items()
        }

    def _losses(self, outputs: Mapping[str, Any], pids: Tensor, suffix: str) -> dict[str, Tensor]:
        return {
            f"loss_{key}{suffix}": scale * loss.from_outputs(outputs, pids)  # type: ignore[operator]
            for (key, loss), scale in zip(self.losses.items(), self.scales, strict=True)
        }


def build_criterion(cfg: CfgNode) -> Criterion:
    """The losses of `MODEL.LOSSES.NAME`, each with the `SCALE` of its node.

    Raises:
        RegistryError: there is no loss of that name.
        ConfigError: no loss, or the same loss twice.
    """
    losses = [LOSSES.get(name)(cfg) for name in cfg.MODEL.LOSSES.NAME]
    return Criterion(losses=losses, scales=[loss.scale(cfg) for loss in losses])
