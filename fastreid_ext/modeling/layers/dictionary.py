"""Embeddings of past batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastreid_ext.functional.keys import Keys
from fastreid_ext.utils.dist import gather

__all__ = ["NegativeDictionary"]


class NegativeDictionary(nn.Module):
    """Remembers the embeddings of the last images, whose places new ones take in turn.

    What it remembers is part of its state. With several processes all remember the images of all, in the same order.

    Args:
        size: images; at least as many as a batch over all processes, and not necessarily a multiple of it.
        dim: width of the embeddings.
        past_positives: images of earlier batches are positives, too; else they are left out where they would be.

    Attributes:
        features: the embeddings, in float32.
        pids: their identities.
        batches: the number, from 0, of the batch that each came with.
        pointer: the place of the next image.
        filled: places that have been taken.
        num_batches: batches so far.

    Shape:
        features: (size, dim). pids, batches: (size,). pointer, filled, num_batches: scalars.

    Raises:
        ValueError: a size or width below 1.
    """

    features: Tensor
    pids: Tensor
    batches: Tensor
    pointer: Tensor
    filled: Tensor
    num_batches: Tensor

    def __init__(self, size: int, dim: int, *, past_positives: bool = False) -> None:
        super().__init__()
        if min(size, dim) < 1:
            raise ValueError(f"a dictionary of {size} embeddings of width {dim}: both must be at least 1")
        self.size, self.dim, self.past_positives = size, dim, past_positives
        self.register_buffer("features", torch.zeros(size, dim, dtype=torch.float32))
        self.register_buffer("pids", torch.full((size,), -1))
        self.register_buffer("batches", torch.full((size,), -1))
        for name in ("pointer", "filled", "num_batches"):
            self.register_buffer(name, torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, features: Tensor, pids: Tensor) -> Keys:
        """Takes in a batch, and gives what its images are to be compared with: all that is remembered now.

        Negatives are the images of other identities. Positives are those of the same identity in this batch, but for
        the image itself. The rows of the masks are the images of all processes, rank by rank. The keys have no
        gradient, and the next call changes them.

        Shape:
            features: (B, dim). pids: (B,), B equal on all ranks.

        Raises:
            ValueError: more images than there are places, embeddings of another width, or not one identity for each.
        """
        if features.shape[1:] != (self.dim,):
            raise ValueError(f"the dictionary holds embeddings of width {self.dim}, not {tuple(features.shape)}")
        if pids.shape != features.shape[:1]:
            raise ValueError(f"{len(features)} embeddings need as many identities, not {tuple(pids.shape)}")
        features, pids = gather(features.detach()), gather(pids.to(self.pids.dtype))
        if len(pids) > self.size:
            raise ValueError(
                f"a batch of {len(pids)} images does not go into a dictionary of {self.size}: "
                f"give it at least as many places"
            )
        places = (self.pointer + torch.arange(len(pids), device=pids.device)) % self.size
        self.features.index_copy_(0, places, features.to(self.features.dtype))
        self.pids.index_copy_(0, places, pids)
        self.batches.index_copy_(0, places, self.num_batches.expand(len(pids)))
        keys = self._keys(pids, places)
        self.pointer.add_(len(pids)).remainder_(self.size)
        self.filled.add_(len(pids)).clamp_(max=self.size)
        self.num_batches.add_(1)
        return keys

    def _keys(self, pids: Tensor, places: Tensor) -> Keys:
        same = pids[:, None] == self.pids
        own = places[:, None] == torch.arange(self.size, device=places.device)
        taken, present = self.batches >= 0, self.batches == self.num_batches
        positive = same & (taken if self.past_positives else present) & ~own
        return Keys(self.features, self.pids, positive, ~same & taken)

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"size={self.size}, dim={self.dim}, past_positives={self.past_positives}"
