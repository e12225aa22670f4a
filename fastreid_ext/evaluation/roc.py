"""ROC of verification: are two images of one identity? Over all pairs, without the whole distance matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.data.protocol import JUNK_PID, Protocol
from fastreid_ext.evaluation.blocks import map_blocks
from fastreid_ext.evaluation.float_histogram import FloatHistogram
from fastreid_ext.evaluation.matches import Matches
from fastreid_ext.evaluation.rank_inputs import DistanceSource, Features, Ids, read_distances, read_labels
from fastreid_ext.functional.distances import Metric
from fastreid_ext.utils.dist import each_rank_its_rows

__all__ = ["RocCurve", "roc_curve"]

_DEFAULT_PROTOCOL = Protocol()
_EXACT_PAIRS = 2**22


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Shares of pairs accepted at each threshold, on the CPU. A pair is accepted at a distance up to the threshold.

    Attributes:
        thresholds: ascending, the first -inf, at which no pair is accepted.
        tpr: share of the genuine pairs (of one identity) accepted at each threshold: true positive rate.
        fpr: share of the impostor pairs (of two identities) accepted: false positive rate.
        num_genuine: number of genuine pairs.
        num_impostor: number of impostor pairs.
        exact: every threshold that makes a difference is there; otherwise some of them, at which the shares are exact.

    Shape:
        thresholds, tpr, fpr: (T,).
    """

    thresholds: Tensor
    tpr: Tensor
    fpr: Tensor
    num_genuine: int
    num_impostor: int
    exact: bool

    def tpr_at(self, fpr: float) -> float:
        """The largest TPR among the curve's thresholds whose FPR does not exceed `fpr`; nothing is interpolated.

        Below one in `num_impostor` that is the TPR without any false acceptance.

        Raises:
            ValueError: `fpr` is not between 0 and 1.
        """
        return float(self.tpr[self._step(fpr)])

    def error_at(self, fpr: float) -> float:
        """By how much the TPR at `fpr` of all thresholds may exceed `tpr_at`, which never exceeds it.

        That is the share of genuine pairs up to the next threshold of the curve, whose FPR is too high; 0 if exact.

        Raises:
            ValueError: `fpr` is not between 0 and 1.
        """
        step = self._step(fpr)
        return 0.0 if self.exact else float(self.tpr[step + 1] - self.tpr[step])

    def threshold_at(self, fpr: float) -> float:
        """The threshold of `tpr_at`.

        Raises:
            ValueError: `fpr` is not between 0 and 1.
        """
        return float(self.thresholds[self._step(fpr)])

    def thinned(self, points: int = 1000) -> RocCurve:
        """The curve with at most about `points` thresholds, for plots with a linear or a logarithmic FPR axis.

        Half of them are evenly spread over TPR, half over the logarithm of FPR; first and last stay.

        Raises:
            ValueError: fewer than 2 points.
        """
        if points < 2:
            raise ValueError(f"a curve has at least 2 points; got points={points}.")
        if len(self.tpr) <= points:
            return self
        half, least = points // 2, torch.tensor(self.num_impostor, dtype=torch.float64).reciprocal().log10()
        by_tpr = torch.searchsorted(self.tpr, torch.linspace(0, 1, half, dtype=torch.float64))
        fprs = torch.logspace(float(least), 0, half, dtype=torch.float64)
        by_fpr = torch.searchsorted(self.fpr, fprs, right=True) - 1
        ends = torch.tensor([0, len(self.tpr) - 1])
        kept = np.unique(torch.cat([ends, by_tpr, by_fpr]).clamp_(0, len(self.tpr) - 1))
        columns = self.thresholds[kept], self.tpr[kept], self.fpr[kept]
        return RocCurve(*columns, self.num_genuine, self.num_impostor, exact=False)

    def _step(self, fpr: float) -> int:
        if not 0 < fpr < 1:
            raise ValueError(f"a false positive rate lies between 0 and 1, both excluded; got {fpr}.")
        return int(torch.searchsorted(self.fpr, fpr, right=True)) - 1


@torch.no_grad()
def roc_curve(
    query_features: Features | None,
    gallery_features: Features | None,
    query_pids: Ids,
    gallery_pids: Ids,
    query_camids: Ids | None = None,
    gallery_camids: Ids | None = None,
    *,
    metric: Metric = "cosine",
    protocol: Protocol = _DEFAULT_PROTOCOL,
    distances: Features | DistanceSource | None = None,
    block_size: int | None = None,
    exact: bool | None = None,
    shard: bool = False,
) -> RocCurve:
    """ROC curve of telling genuine query-gallery pairs from impostor pairs by their distance.

    Inputs and rules are those of `rank_metrics`: what is junk for a query makes no pair with it, nor does a query of
    pid -1 make any. Impostor pairs of queries without a match count. Where the query is the gallery each pair of images
    is met twice, which changes no share. Single gallery shots and trials of the protocol are not looked at. With
    "euclidean" thresholds are of squared distances.

    The exact curve keeps and sorts all distances; it is the default up to 2^22 pairs. Otherwise distances are counted
    in bins, each 2^-15 of its distances wide, and the thresholds are the upper edges of the bins: what `tpr_at` leaves
    uncertain is no more than the genuine pairs within one bin, and told by `error_at`. Binned, float64 is rounded to
    float32.

    With `shard` every process of the run calls this with the same arguments, looks at its share of the queries, and
    returns the curve of all.

    Shape:
        query_features: (Q, D). gallery_features: (G, D). distances: (Q, G).
        query_pids, query_camids: (Q,). gallery_pids, gallery_camids: (G,).

    Raises:
        ValueError: empty, ill-fitting or non-finite input, camera ids missing while the camera rule is on, or there is
            no genuine or no impostor pair.
    """
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1; got {block_size}.")
    source = read_distances(query_features, gallery_features, distances, metric)
    matches = Matches(read_labels(query_pids, gallery_pids, query_camids, gallery_camids, source, protocol), protocol)
    if exact is None:
        exact = source.shape[0] * source.shape[1] <= _EXACT_PAIRS
    tallies: Callable[[], _Values | FloatHistogram] = _Values if exact else lambda: FloatHistogram(source.device)

    def count(queries: slice) -> tuple[Tensor, ...]:
        genuine, impostor = tallies(), tallies()

        def tally(block: slice, block_distances: Tensor) -> None:
            genuine.add(_take_genuine(block_distances, matches, block))
            impostor.add(block_distances)

        beside = matches.bytes_of_query
        map_blocks(tally, source, queries=queries, block_size=block_size, bytes_beside=beside)
        return *genuine.levels(), *impostor.levels()

    number = source.shape[0]
    counted = each_rank_its_rows(count, number) if shard else count(slice(number))
    return _curve(_ascending(*counted[:2]), _ascending(*counted[2:]), exact)


def _ascending(levels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The levels of all processes in order."""
    order = levels.argsort()
    return levels[order], counts[order]


class _Values:
    """Every distance, as a histogram with a bin for each."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        self._parts.append(values[~values.isnan()].cpu())

    def levels(self) -> tuple[Tensor, Tensor]:
        values, counts = np.unique(torch.cat(self._parts).numpy(), return_counts=True)
        return torch.from_numpy(values), torch.from_numpy(counts)


def _take_genuine(distances: Tensor, matches: Matches, queries: slice) -> Tensor:
    """Distances of a block's genuine pairs; only those of impostor pairs are left in the block, among NaN.

    Shape:
        distances: (B, G).
        Result: (N,).
    """
    items, positive, junk = matches.of(queries)
    genuine = distances.gather(1, items)[positive]
    row, column = (positive | junk).nonzero(as_tuple=True)
    distances[row, items[row, column]] = torch.nan
    distances[matches.query_pids[queries] == JUNK_PID] = torch.nan
    if matches.any_junk:
        distances.masked_fill_(matches.junk, torch.nan)
    return genuine


def _curve(genuine: tuple[Tensor, Tensor], impostor: tuple[Tensor, Tensor], exact: bool) -> RocCurve:
    """The curve through all levels of distance, given ascending and with the number of pairs at each."""
    num_genuine, num_impostor = int(genuine[1].sum()), int(impostor[1].sum())
    if not num_genuine:
        raise ValueError(
            "there is no genuine pair: no query has an image of its identity in the gallery that is not junk for it. "
            "Do query and gallery number identities alike? If the camera rule removes every match, use "
            "protocol=Protocol(camera_rule=False)."
        )
    if not num_impostor:
        raise ValueError("there is no impostor pair: all images that are not junk are of one identity.")
    thresholds = torch.from_numpy(np.unique(torch.cat([genuine[0], impostor[0]])))

    def share(levels: Tensor, counts: Tensor, total: int) -> Tensor:
        reached = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        shares = reached[torch.searchsorted(levels, thresholds, right=True)].double() / total
        return torch.cat([shares.new_zeros(1), shares])

    start = thresholds.new_full((1,), -torch.inf)
    tpr, fpr = share(*genuine, num_genuine), share(*impostor, num_impostor)
    return RocCurve(torch.cat([start, thresholds]).double(), tpr, fpr, num_genuine, num_impostor, exact)
