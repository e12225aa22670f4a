"""What metric losses see of a head."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

__all__ = ["HasClassifier", "feature_widths", "features_by_branch", "without_classifier"]


@runtime_checkable
class HasClassifier(Protocol):
    """A head that can do without its classifier."""

    def without_classifier(self) -> nn.Module:
        """A copy that in training gives the features only."""


def without_classifier(heads: nn.Module) -> nn.Module:
    """A copy of a head, without the classifier if the head can do without."""
    return heads.without_classifier() if isinstance(heads, HasClassifier) else copy.deepcopy(heads)


def features_by_branch(outputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The features among a head's outputs in training, by branch; "" is the only one of a head without branches.

    Shape:
        Results: (B, D).
    """
    branches = outputs.get("branches", {}) or {"": outputs}
    return {name: of_branch["features"] for name, of_branch in branches.items() if "features" in of_branch}


@torch.no_grad()
def feature_widths(backbone: nn.Module, heads: nn.Module, size: Sequence[int]) -> dict[str, int]:
    """Widths of the features, by branch; found out by a trial with copies.

    Args:
        backbone: images -> maps.
        heads: in training (maps, pids) -> dict.
        size: height and width of the images in pixels.
    """
    images = next(backbone.parameters()).new_zeros(2, 3, *size)
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        maps = copy.deepcopy(backbone)(images)
        outputs = without_classifier(heads).train()(maps, torch.zeros(2, dtype=torch.long, device=images.device))
    return {name: features.shape[1] for name, features in features_by_branch(outputs).items()}
