"""Random splits of a test set into one gallery image per identity and the other images as queries."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.data.protocol import JUNK_PID

__all__ = ["first_of_each_pid", "vehicleid_trial"]


def vehicleid_trial(pids: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Splits a test set as VehicleID's protocol does: a random image of each identity is gallery, all others query.

    An identity with one image is in the gallery only. Images with pid -1 are in neither part.

    Source: Liu et al., "Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles", CVPR 2016.

    Shape:
        pids: (N,).
        Result: query indices (N - I,) and gallery indices (I,), both ascending, for I identities.
    """
    order = torch.randperm(len(pids), generator=torch.Generator().manual_seed(seed))
    gallery = first_of_each_pid(order, pids.cpu()).sort().values
    is_query = pids.cpu() != JUNK_PID
    is_query[gallery] = False
    return is_query.nonzero().flatten().to(pids.device), gallery.to(pids.device)


def first_of_each_pid(order: Tensor, pids: Tensor) -> Tensor:
    """For each identity the index that comes first in `order`, identities ascending, junk left out.

    Shape:
        order: (N,), a permutation of the indices. pids: (N,). Result: (I,) for I identities.
    """
    grouped, position = pids[order].sort(stable=True)
    is_first = torch.ones_like(grouped, dtype=torch.bool)
    is_first[1:] = grouped[1:] != grouped[:-1]
    return order[position[is_first & (grouped != JUNK_PID)]]
