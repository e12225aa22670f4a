"""Random draws of galleries that hold one image per identity: VehicleID's trials and CUHK03's single gallery shot."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.data.protocol import JUNK_PID

__all__ = ["SingleGalleryShot", "vehicleid_trial"]


def vehicleid_trial(pids: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Splits a test set as VehicleID's protocol does: a random image of each identity is gallery, all others query.

    An identity with one image is in the gallery only. Images with pid -1 are in neither part.

    Source: Liu et al., "Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles", CVPR 2016.

    Shape:
        pids: (N,).
        Result: query indices (N - I,) and gallery indices (I,), both ascending, for I identities.
    """
    order = torch.randperm(len(pids), generator=torch.Generator().manual_seed(seed))
    gallery = _first_of_each_pid(order, pids.cpu()).sort().values
    is_query = pids.cpu() != JUNK_PID
    is_query[gallery] = False
    return is_query.nonzero().flatten().to(pids.device), gallery.to(pids.device)


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
        self.shots = [_first_of_each_pid(queue, pids).to(gallery_pids.device) for queue in queues]

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


def _first_of_each_pid(order: Tensor, pids: Tensor) -> Tensor:
    """For each identity the index that comes first in `order`, identities ascending, junk left out."""
    grouped, position = pids[order].sort(stable=True)
    is_first = torch.ones_like(grouped, dtype=torch.bool)
    is_first[1:] = grouped[1:] != grouped[:-1]
    return order[position[is_first & (grouped != JUNK_PID)]]
