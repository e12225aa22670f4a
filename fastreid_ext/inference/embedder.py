"""What all models that embed have in common, whatever file they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fastreid_ext.inference.card import ModelCard

__all__ = ["Embedder"]


class Embedder(ABC):
    """A model for inference: resized images in, embeddings out. What comes between is the file's business.

    Cropping, normalisation, mirror images and `TEST.MIXED_POOL` and `LEAKY_RELU` are in `embed`; resizing is not.

    Args:
        card: of the model.
        source: the file or folder it comes from, for messages.
        device: where it computes.
    """

    def __init__(self, card: ModelCard, *, source: str, device: torch.device) -> None:
        self.card, self.source, self.device = card, source, device

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Embeddings of a batch.

        Shape:
            images: (B, 3, H, W) with `card.size` as (H, W), uint8, RGB, on any device. B may be 0.
            Result: (B, card.dim), float32, on the CPU.
        """
