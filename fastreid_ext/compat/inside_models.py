"""Our meta-architectures inside FastReID."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from fastreid.modeling.losses.cross_entroy_loss import log_accuracy
from fastreid.modeling.meta_arch import Baseline as OriginalBaseline
from fastreid.utils.events import get_event_storage
from torch import Tensor, nn

from fastreid_ext.compat.inside_config import our_config
from fastreid_ext.compat.inside_parts import build_backbone, build_heads, last_map
from fastreid_ext.config import configurable
from fastreid_ext.modeling.losses import build_criterion
from fastreid_ext.modeling.meta_arch import Baseline, ReIDModel
from fastreid_ext.modeling.meta_arch.base import image_arguments
from fastreid_ext.registry import RegistryError

__all__ = ["ExtBaseline", "inside_fastreid"]


class ExtBaseline(OriginalBaseline):  # type: ignore[misc]  # FastReID has no types
    """FastReID's Baseline whose losses are ours: `MODEL.LOSSES.NAME` may have any that is registered here.

    Backbone and head are those of FastReID's registries, ours among them. An unknown loss is an error that lists close
    matches, and batches are left as they are. State names are those of our own `Baseline`.

    Args:
        backbone: normalised images -> what the head takes.
        heads: in training (features, pids) -> dict; in evaluation features -> embeddings.
        criterion: (that dict with the backbone's last map as "map", pids) -> dict of scalar losses.
        pixel_mean: of each colour, on the scale of the images.
        pixel_std: of each colour, on the scale of the images.
    """

    @configurable
    def __init__(self, *, backbone: nn.Module, heads: nn.Module, criterion: nn.Module, **pixels: Any) -> None:
        super().__init__(backbone=backbone, heads=heads, **pixels)
        self.criterion = criterion
        criterion.register_forward_pre_hook(_log_accuracy)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Keyword arguments from `MODEL`."""
        made = _parts(our_config(cfg))
        return {**made, "pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}

    def forward(self, batched_inputs: Any) -> Any:
        """Losses by name in training, embeddings in evaluation.

        Shape:
            batched_inputs: a dict with `images` (B, 3, H, W) and in training `targets` (B,), or the images alone.
            Result: in training scalars, in evaluation (B, D).
        """
        maps = self.backbone(self.preprocess_image(batched_inputs))
        if not self.training:
            return self.heads(maps)
        pids = _pids(batched_inputs, self.device)
        last = last_map(maps)
        return self.losses({**self.heads(maps, pids), **({} if last is None else {"map": last})}, pids)

    def preprocess_image(self, batched_inputs: Any) -> Tensor:
        """New images of mean 0 and standard deviation 1.

        Shape:
            Result: (B, 3, H, W).
        """
        images = batched_inputs["images"] if isinstance(batched_inputs, Mapping) else batched_inputs
        normalized: Tensor = (images.to(self.pixel_mean) - self.pixel_mean) * self.pixel_std.reciprocal()
        return normalized

    def losses(self, outputs: Mapping[str, Any], gt_labels: Tensor) -> dict[str, Tensor]:
        """The criterion's losses of what the head gave.

        Shape:
            gt_labels: (B,).
            Results: scalars.
        """
        losses: dict[str, Tensor] = self.criterion(outputs, gt_labels)
        return losses


class _InsideFastReID(ReIDModel):
    """What FastReID's engine expects of a model, and calls to `after_step`, of which it knows nothing.

    `after_step` is called when the next step begins, or the state is saved: by then the optimizer has made its step.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_epoch = args[0].SOLVER.MAX_EPOCH if args else 0
        # Progress of a step after which `after_step` has not been called.
        self.last_step: float | None = None
        self.register_state_dict_pre_hook(_finish_step)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if self.criterion is not None:
            self.criterion.register_forward_pre_hook(_log_accuracy)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Keyword arguments from FastReID's config."""
        with _explained():
            made: dict[str, Any] = super().from_config(our_config(cfg))  # type: ignore[misc]  # of the model mixed in
        return made

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batch: Any) -> Any:
        """See `ReIDModel.forward`."""
        if not self.training:
            return super().forward(batch)
        self.finish_step()
        losses = super().forward({**batch, "targets": _pids(batch, self.device)})
        if torch.is_grad_enabled():
            self.last_step = _progress(self.max_epoch)
        return losses

    def finish_step(self) -> None:
        """Calls `after_step` if it has not been called since the last step."""
        if self.last_step is not None:
            self.after_step(self.last_step)
            self.last_step = None


class _BaselineParts(Baseline):
    """Our Baseline with parts of FastReID's registries."""

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Keyword arguments from `MODEL`."""
        return {**_parts(cfg), **image_arguments(cfg)}


def inside_fastreid(name: str, model: type[ReIDModel]) -> type[ReIDModel]:
    """A class `name` that is a meta-architecture of ours and fits FastReID's engine.

    What extends our `Baseline` has the backbones and heads of FastReID's registries, ours among them; others have ours.
    """
    bases: tuple[type, ...] = (_InsideFastReID, model, *([_BaselineParts] if issubclass(model, Baseline) else []))
    return type(name, bases, {"__doc__": model.__doc__, "__module__": __name__})


def _parts(cfg: Any) -> dict[str, Any]:
    """Backbone, head and losses."""
    with _explained():
        backbone = build_backbone(cfg)
        feature_dim = backbone.feature_dim
        assert isinstance(feature_dim, int)
        return {
            "backbone": backbone,
            "heads": build_heads(cfg, feature_dim),
            "criterion": build_criterion(cfg, feature_dim),
        }


@contextmanager
def _explained() -> Iterator[None]:
    """Errors about unknown parts say how a project is named here."""
    try:
        yield
    except RegistryError as error:
        raise RegistryError(
            f"{error} Inside FastReID its name is also an argument of fastreid_ext.compat.fastreid.register."
        ) from error


def _pids(batch: Any, device: torch.device) -> Tensor:
    """Identities; FastReID's precise batch norm, which wants no losses, has none but -1."""
    if not isinstance(batch, Mapping) or "targets" not in batch:
        raise ValueError("training needs a batch with 'images' and 'targets'; call eval() to embed images")
    pids: Tensor = batch["targets"].to(device)
    return pids if torch.is_grad_enabled() else pids.clamp(min=0)


def _progress(max_epoch: int) -> float:
    """Share of the epochs that are done: FastReID tells a model no more, and only while its trainer runs."""
    with suppress(AssertionError):
        return float(getattr(get_event_storage(), "epoch", 0) / max(1, max_epoch))
    return 0.0


def _finish_step(model: nn.Module, prefix: str, keep_vars: bool) -> None:
    assert isinstance(model, _InsideFastReID)
    model.finish_step()


def _log_accuracy(criterion: nn.Module, inputs: tuple[Any, ...]) -> None:
    """As FastReID does; of several branches that of the first with a classifier."""
    outputs, pids = inputs
    branches = (outputs.get("branches") or {"": outputs}).values()
    logits = next((branch["pred_class_logits"] for branch in branches if "pred_class_logits" in branch), None)
    # FastReID asserts that a trainer runs.
    with suppress(AssertionError):
        get_event_storage()
        if logits is not None:
            log_accuracy(logits.detach(), pids)
