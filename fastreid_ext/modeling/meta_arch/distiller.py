"""A student that learns from the logits of teachers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.modeling.losses.divergence import jeffreys_divergence
from fastreid_ext.modeling.meta_arch.baseline import Baseline
from fastreid_ext.modeling.meta_arch.registry import META_ARCHS
from fastreid_ext.modeling.meta_arch.teacher import FrozenTeachers, Teacher, load_teacher, logits_by_branch

__all__ = ["Distiller"]


@META_ARCHS.register(source="FastReID: He et al. 2020, arXiv:2006.02631")
class Distiller(Baseline):
    """A `Baseline` with one more loss, `loss_jsdiv`: how far its logits are from those of teachers, on average.

    Teachers are frozen, or one is the moving average of the student, batch-norm statistics included. The average is
    saved with the model, so that a training can be resumed; frozen teachers are not. In evaluation only the student is
    there. FastReID's teachers take statistics of the batch and count running ones, and its average has no statistics.

    Args:
        backbone: as for `Baseline`.
        heads: as for `Baseline`, with a classifier.
        teachers: frozen ones, which take images that are normalised as the student's; may be empty.
        average_momentum: weight of the old average in each step; None for no such teacher.
        temperature: by which logits are divided.
        criterion: as for `Baseline`.
        pixel_mean: of each colour, on the scale of the images.
        pixel_std: of each colour, on the scale of the images.
        channels_last: lays weights and images out channels last.
    """

    training_only: ClassVar[tuple[str, ...]] = (*Baseline.training_only, "teachers", "average")

    teachers: FrozenTeachers
    average: Teacher | None

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        heads: nn.Module,
        teachers: Sequence[Teacher] = (),
        average_momentum: float | None = None,
        temperature: float = 16.0,
        criterion: nn.Module | None = None,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        channels_last: bool = False,
    ) -> None:
        super().__init__(
            backbone=backbone,
            heads=heads,
            criterion=criterion,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            channels_last=channels_last,
        )
        self.temperature, self.average_momentum = temperature, average_momentum
        self.teachers = FrozenTeachers(teachers)
        self.average = None
        if average_momentum is not None:
            self.average = Teacher(
                backbone=copy.deepcopy(backbone), heads=copy.deepcopy(heads), channels_last=channels_last
            )
            self.register_load_state_dict_post_hook(_start_from_student)  # type: ignore[no-untyped-call]

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL` and `KD`.

        Raises:
            ConfigError: a teacher's config cannot be read, or it tells other identities apart.
            CheckpointError: a teacher's checkpoint cannot be read or does not fit.
        """
        kd = cfg.KD
        pairs = zip(kd.MODEL_CONFIG, kd.MODEL_WEIGHTS, strict=True)
        return {
            **super().from_config(cfg),
            "teachers": [load_teacher(file, weights, cfg) for file, weights in pairs],
            "average_momentum": kd.EMA.MOMENTUM if kd.EMA.ENABLED else None,
            "temperature": kd.TEMPERATURE,
        }

    def outputs(self, images: Tensor, pids: Tensor) -> dict[str, Any]:
        """As of `Baseline`, and the logits of all teachers as "taught", unless there are no gradients.

        Shape:
            images: (B, 3, H, W), normalised. pids: (B,).

        Raises:
            ConfigError: there are no teachers.
        """
        outputs = super().outputs(images, pids)
        if not torch.is_grad_enabled():
            return outputs
        teachers = [*([] if self.average is None else [self.average]), *self.teachers.teachers]
        if not teachers:
            raise ConfigError("a Distiller needs a teacher to train: see KD.MODEL_CONFIG and KD.EMA.ENABLED")
        return {**outputs, "taught": [teacher.teach(images, pids) for teacher in teachers]}

    def more_losses(self, outputs: Mapping[str, Any], pids: Tensor) -> dict[str, Tensor]:
        """The divergence from the logits of teachers, averaged over these; of several branches one each.

        Shape:
            pids: (B,).
            Results: scalars.

        Raises:
            ConfigError: the heads of student and teachers have different branches, or no logits.
        """
        if "taught" not in outputs:
            return {}
        own, taught = logits_by_branch(outputs), outputs["taught"]
        if not own or any(own.keys() != of_teacher.keys() for of_teacher in taught):
            raise ConfigError(
                f"student and teachers must have one kind of head, with a classifier (MODEL.HEADS.NAME): the student's "
                f"logits are {_named(own)}, those of teachers {', '.join(map(_named, taught))}"
            )
        losses = {}
        for branch, logits in own.items():
            each = [jeffreys_divergence(logits, t[branch], temperature=self.temperature) for t in taught]
            losses[f"loss_jsdiv_{branch}" if branch else "loss_jsdiv"] = torch.stack(each).mean()
        return losses

    def after_step(self, progress: float) -> None:
        """Lets the average follow; to be called after each step of the optimizer.

        Args:
            progress: the share of the training that is done, from 0 to 1.
        """
        if self.average_momentum is not None:
            self._follow(self.average_momentum)

    @torch.no_grad()
    def _follow(self, momentum: float) -> None:
        assert self.average is not None
        own, kept = self.state_dict(), self.average.state_dict()
        floating = [name for name, value in kept.items() if value.is_floating_point()]
        follow = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        follow([kept[name] for name in floating], [own[name] for name in floating], 0)
        for name in kept.keys() - set(floating):
            kept[name].copy_(own[name])


def _start_from_student(model: nn.Module, incompatible_keys: Any) -> None:
    """Weights that were trained without an average, or for other identities, are where it starts."""
    assert isinstance(model, Distiller)
    missing = incompatible_keys.missing_keys
    if any(name.startswith("average.") for name in missing):
        model._follow(momentum=0.0)
        missing[:] = [name for name in missing if not name.startswith("average.")]


def _named(logits: Mapping[str, Tensor]) -> str:
    return "/".join(name or "of one branch" for name in logits) or "none"
