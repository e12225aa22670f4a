"""CUHK03's single gallery shot: random galleries that hold one image per identity."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.data.trials import first_of_each_pid

__all__ = ["SingleGalleryShot"]


class SingleGalleryShot:
    """CUHK03's classic CMC: each identity is represented by one gallery image, drawn at random several times.

    In every draw each gallery image gets a random place in a queue, and an identity is represented by its first image
    there. For a query's own identity that is the first image which is not junk for the query.

    Source: Li et al., "DeepReID: Deep Filter Pairing Neural Network for Person Re-Identification", CVPR 2014.

    Shape:
        gallery_pids: (G,).
        places: (draws, G), the place of each gallery image in the queue of each draw.
        shots: a tensor per draw, of the gallery indices that represent the I identities: (I,), pids ascending.
    """

    def __init__(self, gallery_pids: Tensor, draws: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        queues = [torch.randperm(len(gallery_pids), generator=generator) for _ in range(draws)]
        pids = gallery_pids.cpu()
        self.places = torch.stack([queue.argsort() for queue in queues]).to(gallery_pids.device)
        self.shots = [first_of_each_pid(queue, pids).to(gallery_pids.device) for queue in queues]

    def first_matches(self, distances: Tensor, items: Tensor, positive: Tensor) -> Tensor:
        """Rank of each query's own identity in each draw; ties go to the lower gallery index.

        Shape:
            distances: (B, G), infinite where an image is junk for the query.
            items: (B, P), gallery indices of the query's identity; positive: (B, P), which of them are valid.
            Result: (B, draws), 1-based; of no meaning for queries without a positive.
        """
        ranks = []
        for places, shots in zip(self.places, self.shots, strict=True):
            choice = places[items].masked_fill(~positive, len(places)).argmin(1, keepdim=True)
            own = items.gather(1, choice)
            limit = distances.gather(1, own)
            others = distances[:, shots]
            ranks.append(1 + ((others < limit) | ((others == limit) & (shots < own))).sum(1))
        return torch.stack(ranks, dim=1)
