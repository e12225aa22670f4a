"""Order statistics of rows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nth_smallest"]


def nth_smallest(values: Tensor, ranks: Tensor) -> Tensor:
    """Each row's value of its rank: 1 for the smallest; minus infinity for rank 0.

    On a CPU only as many values are sorted as the largest rank says. A GPU, which would have to send that number to the
    host and wait, sorts whole rows.

    Shape:
        values: (Q, M). ranks: (Q,), from 0 to M.
        Result: (Q,).
    """
    if values.is_cuda:
        ascending = values.sort(dim=1).values
    else:
        most = int(ranks.max()) if len(ranks) else 0
        ascending = values.topk(most, dim=1, largest=False).values
    lowest = values.new_full((len(values), 1), -torch.inf)
    return torch.cat((lowest, ascending), dim=1).gather(1, ranks[:, None]).squeeze(1)
