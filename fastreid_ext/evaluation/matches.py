"""Which gallery images are a query's matches, and which are junk for it."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.data.protocol import JUNK_PID, Protocol
from fastreid_ext.evaluation.rank_inputs import LabelTensors

__all__ = ["Matches"]

# Several numbers of eight bytes for each image of the query's identity.
_BYTES_OF_MATCH = 96


class Matches:
    """The gallery grouped by identity, under the rules of a protocol.

    Attributes:
        bytes_of_query: what work on the matches of one query takes at most.
        any_junk: whether there are gallery images that are junk for every query.

    Shape:
        query_pids: (Q,). gallery_pids: (G,).
        junk: (G,), the gallery images that are junk for every query.
    """

    def __init__(self, labels: LabelTensors, protocol: Protocol) -> None:
        self.query_pids, self.gallery_pids, self._query_camids, self._gallery_camids = labels
        self.junk = self.gallery_pids == JUNK_PID
        self.any_junk = bool(self.junk.any())
        self._query_is_gallery = protocol.query_is_gallery
        self._grouped_pids, self._grouped = self.gallery_pids.sort(stable=True)
        pids, counts = torch.unique_consecutive(self._grouped_pids, return_counts=True)
        self.bytes_of_query = _BYTES_OF_MATCH * int(counts.masked_fill(pids == JUNK_PID, 0).max())

    def of(self, queries: slice) -> tuple[Tensor, Tensor, Tensor]:
        """The gallery images of each query's identity; which of them are positives, and which are junk for the query.

        Shape:
            Result: three (B, P), for B queries of at most P images each: gallery indices, ascending (the rows of rarer
            identities end in indices without meaning), positive, and junk.
        """
        pids = self.query_pids[queries].contiguous()
        start = torch.searchsorted(self._grouped_pids, pids)
        count = torch.searchsorted(self._grouped_pids, pids, right=True) - start
        count.masked_fill_(pids == JUNK_PID, 0)
        offset = torch.arange(max(1, int(count.max())), device=pids.device)
        items = self._grouped[(start[:, None] + offset).clamp_max(len(self._grouped) - 1)]
        same = (offset < count[:, None]) & (pids[:, None] != JUNK_PID)
        junk = same & self._passed_over(queries, items)
        return items, same & ~junk, junk

    def _passed_over(self, queries: slice, items: Tensor) -> Tensor:
        passed = torch.zeros_like(items, dtype=torch.bool)
        if self._query_camids is not None and self._gallery_camids is not None:
            passed |= self._gallery_camids[items] == self._query_camids[queries, None]
        if self._query_is_gallery:
            passed |= items == torch.arange(len(self.query_pids), device=items.device)[queries, None]
        return passed
