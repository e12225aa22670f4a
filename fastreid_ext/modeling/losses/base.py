"""What losses have in common that a config can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from fastreid_ext.config import CfgNode
from fastreid_ext.utils.dist import gather

__all__ = ["ClassificationLoss", "Loss", "MapLoss", "PairwiseLoss", "check_inputs"]


class Loss(nn.Module):
    """A loss with keyword arguments and `forward(inputs, pids) -> scalar`, made from a config when it is registered.

    Attributes:
        key: short name; the loss is logged as `loss_<key>`.
        node: name of the loss's node below `MODEL.LOSSES`, which has `SCALE`.
        takes: keys of a head's outputs that it needs; of several branches it is computed on those that have them.
    """

    key: str
    node: str
    takes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments of the loss."""
        raise NotImplementedError(f"{cls.__name__} does not say how it is made from a config")

    def scale(self, cfg: CfgNode) -> float:
        """Weight of this loss in the total."""
        return float(cfg.MODEL.LOSSES[self.node].SCALE)

    def from_outputs(self, outputs: Mapping[str, Any], pids: Tensor) -> Tensor:
        """The loss of what a head returned in training.

        Shape:
            pids: (B,).
            Result: scalar.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say which outputs of the head it takes")


class ClassificationLoss(Loss):
    """A loss on `cls_outputs (B, num_classes)`."""

    takes = ("cls_outputs",)

    def from_outputs(self, outputs: Mapping[str, Any], pids: Tensor) -> Tensor:
        """The loss of `outputs["cls_outputs"]`.

        Shape:
            pids: (B,).
            Result: scalar.
        """
        loss: Tensor = self(outputs["cls_outputs"], pids)
        return loss


class PairwiseLoss(Loss):
    """A loss on `features (B, D)` that compares images: it sees those of all ranks."""

    takes = ("features",)

    def from_outputs(self, outputs: Mapping[str, Any], pids: Tensor) -> Tensor:
        """The loss of `outputs["features"]` of all ranks, the same on every rank.

        Shape:
            pids: (B,), B equal on all ranks.
            Result: scalar.
        """
        loss: Tensor = self(gather(outputs["features"]), gather(pids))
        return loss


class MapLoss(Loss):
    """A loss on the backbone's last map: computed once, however many branches the head has."""

    @classmethod
    def from_config(cls, cfg: CfgNode, feature_dim: int) -> dict[str, Any]:  # type: ignore[override]  # maps have channels
        """Keyword arguments of the loss on maps of `feature_dim` channels."""
        raise NotImplementedError(f"{cls.__name__} does not say how it is made from a config")

    def from_outputs(self, outputs: Mapping[str, Any], pids: Tensor) -> Tensor:
        """The loss of `outputs["map"]` (B, C, h, w).

        Shape:
            pids: (B,).
            Result: scalar.
        """
        loss: Tensor = self(outputs["map"], pids)
        return loss


def check_inputs(inputs: Tensor, pids: Tensor) -> None:
    """Refuses inputs that would broadcast into a wrong loss.

    Shape:
        inputs: (B, D). pids: (B,).

    Raises:
        ValueError: other shapes.
    """
    if inputs.dim() != 2 or pids.shape != inputs.shape[:1]:
        raise ValueError(
            f"a loss takes embeddings or logits (B, D) and one identity a row (B,), "
            f"not {tuple(inputs.shape)} and {tuple(pids.shape)}"
        )
