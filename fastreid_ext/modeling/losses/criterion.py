"""The weighted losses of a run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.modeling.losses.base import Loss, MapLoss
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["Criterion", "build_criterion"]


class Criterion(nn.Module):
    """Several losses with their weights.

    The losses are part of the model, so that those with weights of their own are trained and saved with it.

    Args:
        losses: of the training, and of its first stage where it has one.
        scales: weight of each; 1 by default.
        stages: keys of the losses of the first stage and of the rest of the training; all of both by default.

    Attributes:
        active: keys of the losses that count now: those of the rest of the training, until `choose_stage` is called.

    Raises:
        ConfigError: no loss, or two that would be logged under one name.
    """

    def __init__(
        self,
        *,
        losses: Sequence[Loss],
        scales: Sequence[float] | None = None,
        stages: tuple[Collection[str], Collection[str]] | None = None,
    ) -> None:
        super().__init__()
        keys = [loss.key for loss in losses]
        if not keys:
            raise ConfigError("there is nothing to train with: MODEL.LOSSES.NAME is empty")
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ConfigError(f"MODEL.LOSSES.NAME has more than one loss named loss_{twice[0]}: keep one of them")
        self.losses = nn.ModuleDict(dict(zip(keys, losses, strict=True)))
        self.scales = dict(zip(keys, [1.0] * len(keys) if scales is None else scales, strict=True))
        self.stages = (frozenset(keys), frozenset(keys)) if stages is None else tuple(map(frozenset, stages))
        self.active = self.stages[-1]

    def choose_stage(self, *, first: bool) -> None:
        """Computes the losses of the first stage, or those of the rest of the training."""
        self.active = self.stages[0 if first else -1]

    def forward(self, outputs: Mapping[str, Any], pids: Tensor) -> dict[str, Tensor]:
        """Weighted losses by name, `loss_<key>`; their sum is to be minimised.

        Of several branches, `{"branches": {name: outputs of the branch}}`, each that has what a loss takes gets that
        loss, named `loss_<key>_<branch>`; where `outputs["averaged"]` is true, the loss's weight is divided by their
        number. Losses on the backbone's last map, `outputs["map"]`, are computed once.

        Shape:
            pids: (B,).
            Results: scalars.

        Raises:
            ConfigError: a loss takes what there is not.
        """
        branches: Mapping[str, Mapping[str, Any]] = outputs.get("branches", {}) or {"": outputs}
        scales = self._scales(outputs, branches)
        of_branches = {
            f"loss_{key}_{branch}" if branch else f"loss_{key}": scales[key] * loss.from_outputs(of_branch, pids)
            for branch, of_branch in branches.items()
            for key, loss in self._losses(on_maps=False)
            if _has(of_branch, loss)
        }
        of_maps = self._losses(on_maps=True)
        return of_branches | {f"loss_{key}": scales[key] * loss.from_outputs(outputs, pids) for key, loss in of_maps}

    def _losses(self, *, on_maps: bool) -> Iterator[tuple[str, Loss]]:
        for key, loss in self.losses.items():
            assert isinstance(loss, Loss)
            if key in self.active and isinstance(loss, MapLoss) == on_maps:
                yield key, loss

    def _scales(self, outputs: Mapping[str, Any], branches: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """Weight of each loss on each of the branches that have it."""
        scales = dict(self.scales)
        for key, loss in self._losses(on_maps=False):
            if not loss.takes and len({frozenset(of_branch) for of_branch in branches.values()}) > 1:
                raise ConfigError(
                    f"loss_{key} does not say what it takes, and the branches of this model give different things: "
                    f'set the class attribute {type(loss).__name__}.takes, such as ("features",)'
                )
            count = sum(_has(of_branch, loss) for of_branch in branches.values())
            if not count:
                named = ", ".join(filter(None, branches))
                whose = f"no branch of {named} has" if named else "the head does not give"
                raise ConfigError(
                    f"loss_{key} takes {' and '.join(loss.takes)} of a head's outputs, which {whose}: "
                    f"take another loss in MODEL.LOSSES.NAME or another MODEL.HEADS.NAME"
                )
            if outputs.get("averaged", False):
                scales[key] /= count
        for key, _ in self._losses(on_maps=True):
            if "map" not in outputs:
                raise ConfigError(
                    f"loss_{key} is of the backbone's last map, but there is none: this backbone returns neither a "
                    f'tensor nor a dict with "last", or the meta-architecture, like MGN, has several last maps'
                )
        return scales


def _has(outputs: Mapping[str, Any], loss: Loss) -> bool:
    return all(key in outputs for key in loss.takes)


def build_criterion(cfg: CfgNode, feature_dim: int | None = None) -> Criterion:
    """The losses of `MODEL.LOSSES.NAME` and of `SOLVER.FIRST_STAGE`, each with the `SCALE` of its node.

    Args:
        cfg: a config.
        feature_dim: channels of the backbone's last map, which losses on maps need.

    Raises:
        RegistryError: there is no loss of that name.
        ConfigError: no loss, the same loss twice, or one on maps of which the channels are not known.
    """
    names, first = list(cfg.MODEL.LOSSES.NAME), cfg.SOLVER.FIRST_STAGE
    of_first = list(first.LOSSES) if first.EPOCHS else []
    added = [name for name in dict.fromkeys(of_first) if name not in names]
    losses = [_build_loss(name, cfg, feature_dim) for name in [*names, *added]]
    keys = {name: loss.key for name, loss in zip([*names, *added], losses, strict=True)}
    stages = ({keys[name] for name in of_first}, {keys[name] for name in names}) if of_first else None
    return Criterion(losses=losses, scales=[loss.scale(cfg) for loss in losses], stages=stages)


def _build_loss(name: str, cfg: CfgNode, feature_dim: int | None) -> Loss:
    make = LOSSES.get(name)
    if not (isinstance(make, type) and issubclass(make, MapLoss)):
        loss: Loss = make(cfg)
        return loss
    if feature_dim is None:
        raise ConfigError(
            f"{name} is a loss on the backbone's one last map, which MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE} does not have (take Baseline), or of which nobody said how many channels "
            f"it has: build_criterion(cfg, feature_dim=backbone.feature_dim)"
        )
    return make(cfg, feature_dim=feature_dim)
