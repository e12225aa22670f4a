"""What the two splits of a search are supervised by: twin memories, or one linear classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fastreid_ext.projects.msinet.search.memory import ClusterMemory

__all__ = ["SUPERVISIONS", "SoftmaxSupervision", "Split", "Supervision", "TwinsContrastive"]

Split = Literal["train", "validation"]


class Supervision(nn.Module):
    """A loss for the features of either split.

    Attributes:
        key: the loss is logged as `loss_<key>`.
    """

    key: str

    def forward(self, features: Tensor, pids: Tensor, split: Split) -> Tensor:
        """The loss of features of a split.

        Shape:
            features: (B, D). pids: (B,), numbered from 0 within the split.
            Result: scalar.
        """
        raise NotImplementedError

    def initialise(self, features: Tensor, pids: Tensor, split: Split) -> None:
        """Learns of the features of a whole split before the first step.

        Shape:
            features: (N, D). pids: (N,).
        """

    def update(self, features: Tensor, pids: Tensor, split: Split) -> None:
        """Learns of the features of a batch after the optimizer's step.

        Shape:
            features: (B, D). pids: (B,).
        """


class TwinsContrastive(Supervision):
    """Two memories, which unbind the identities of the splits from each other (section 3.1).

    Args:
        dim: width of the features.
        num_classes: identities of each split.
        temperature: of the softmax (tau).
        momentum: of the memories (beta).
    """

    key = "tcm"

    def __init__(
        self, dim: int, num_classes: Mapping[str, int], *, temperature: float = 0.05, momentum: float = 0.2
    ) -> None:
        super().__init__()
        options = {"temperature": temperature, "momentum": momentum}
        self.train_memory = ClusterMemory(num_classes["train"], dim, **options)
        self.validation_memory = ClusterMemory(num_classes["validation"], dim, **options)

    def memory(self, split: Split) -> ClusterMemory:
        """The memory of a split."""
        return self.train_memory if split == "train" else self.validation_memory

    def forward(self, features: Tensor, pids: Tensor, split: Split) -> Tensor:
        loss: Tensor = self.memory(split)(features, pids)
        return loss

    def initialise(self, features: Tensor, pids: Tensor, split: Split) -> None:
        self.memory(split).initialise(features, pids)

    def update(self, features: Tensor, pids: Tensor, split: Split) -> None:
        self.memory(split).update(features, pids)


class SoftmaxSupervision(Supervision):
    """One linear classifier with cross entropy for both splits, as searches for image classification have it.

    Raises:
        ValueError: the splits have different numbers of identities, which one classifier cannot serve.
    """

    key = "softmax"

    def __init__(self, dim: int, num_classes: Mapping[str, int]) -> None:
        super().__init__()
        if len(set(num_classes.values())) > 1:
            raise ValueError(
                f"SEARCH.ARCH.SUPERVISION softmax has one classifier for both splits, but they have "
                f"{dict(num_classes)} identities: set SEARCH.ARCH.SPLIT to [100, 100], or SUPERVISION to tcm"
            )
        self.classifier = nn.Linear(dim, num_classes["train"], bias=False)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, features: Tensor, pids: Tensor, split: Split) -> Tensor:
        return cross_entropy(self.classifier(features), pids)


SUPERVISIONS = {"tcm": TwinsContrastive, "softmax": SoftmaxSupervision}
"""By `SEARCH.ARCH.SUPERVISION`."""
