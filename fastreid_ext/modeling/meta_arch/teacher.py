"""Networks that teach others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.modeling.backbones import build_backbone
from fastreid_ext.modeling.checkpoint import config_for, load_weights, read_checkpoint
from fastreid_ext.modeling.heads import build_heads
from fastreid_ext.modeling.meta_arch.base import image_arguments
from fastreid_ext.modeling.meta_arch.baseline import Baseline
from fastreid_ext.utils.logger import get_logger

__all__ = ["FrozenTeachers", "Teacher", "load_teacher", "logits_by_branch"]


class Teacher(Baseline):
    """A `Baseline` that gives logits only, and neither learns nor counts statistics.

    Its layers are in evaluation mode always; the head alone believes that it trains, since it gives logits only then.

    Args:
        backbone: as for `Baseline`.
        heads: as for `Baseline`.
        pixel_mean: of each colour, on the scale of the images that it is given.
        pixel_std: of each colour, on that scale.
        channels_last: lays weights and images out channels last.
    """

    gives_logits = True

    def __init__(
        self,
        *,
        backbone: nn.Module,
        heads: nn.Module,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        channels_last: bool = False,
    ) -> None:
        super().__init__(
            backbone=backbone, heads=heads, pixel_mean=pixel_mean, pixel_std=pixel_std, channels_last=channels_last
        )
        self.requires_grad_(False)
        self.train()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL`."""
        backbone = build_backbone(cfg)
        heads = build_heads(cfg, int(backbone.feature_dim))  # type: ignore[arg-type]  # backbones have a number
        return {"backbone": backbone, "heads": heads, **image_arguments(cfg)}

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode but for the head itself."""
        super().train(False)
        self.heads.training = True
        return self

    @torch.no_grad()
    def teach(self, images: Tensor, pids: Tensor) -> dict[str, Tensor]:
        """Logits by branch; "" is the only one of a head without branches.

        Shape:
            images: (B, 3, H, W), on the scale of `pixel_mean`. pids: (B,).
            Results: (B, C).
        """
        return logits_by_branch(self.outputs(self.normalize(images), pids))


class FrozenTeachers(nn.Module):
    """Teachers that move with the model that they belong to, but are no part of its weights and state."""

    def __init__(self, teachers: Iterable[Teacher]) -> None:
        super().__init__()
        # In a tuple torch does not see them.
        self.teachers = tuple(teachers)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrozenTeachers:
        for teacher in self.teachers:
            teacher._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def load_teacher(file: str, weights: str, student: CfgNode) -> Teacher:
    """The teacher of a config file with the weights of a checkpoint, for images that the student has normalised.

    Args:
        file: path or short name of its config; its meta-architecture is taken to be `Baseline`.
        weights: path or URL of its checkpoint.
        student: config of the student.

    Raises:
        ConfigError: the config cannot be read, or the teacher knows another number of identities than the student.
        CheckpointError: the checkpoint cannot be read or does not fit.
    """
    state = read_checkpoint(weights)
    cfg = config_for(load_config(file), state)
    pixels = list(zip(student.MODEL.PIXEL_MEAN, student.MODEL.PIXEL_STD, strict=True))
    mean = [(own - mean) / std for own, (mean, std) in zip(cfg.MODEL.PIXEL_MEAN, pixels, strict=True)]
    std = [own / std for own, (_, std) in zip(cfg.MODEL.PIXEL_STD, pixels, strict=True)]
    teacher = Teacher(**{**Teacher.from_config(cfg), "pixel_mean": mean, "pixel_std": std})
    report = load_weights(teacher, state, source=f"KD.MODEL_WEIGHTS {weights}", for_inference=True)
    get_logger(__name__).info(f"teacher {weights}: {report}")
    known, classes = cfg.MODEL.HEADS.NUM_CLASSES, student.MODEL.HEADS.NUM_CLASSES
    if known != classes:
        raise ConfigError(
            f"KD.MODEL_WEIGHTS {weights}: this teacher tells {known} identities apart, the student {classes}: both "
            f"must be trained on the same DATASETS.NAMES"
        )
    return teacher


def logits_by_branch(outputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The logits without margins among a head's outputs in training, by branch.

    Shape:
        Results: (B, C).
    """
    branches = outputs.get("branches", {}) or {"": outputs}
    found = {name: of_branch.get("pred_class_logits") for name, of_branch in branches.items()}
    return {name: logits for name, logits in found.items() if logits is not None}
