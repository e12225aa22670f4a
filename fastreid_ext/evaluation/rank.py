"""CMC, mAP and mINP of a ranking, without sorting the gallery and without the whole distance matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.blocks import map_blocks
from fastreid_ext.evaluation.matches import Matches
from fastreid_ext.evaluation.rank_inputs import (
    DistanceSource,
    Features,
    Ids,
    read_distances,
    read_labels,
)
from fastreid_ext.evaluation.trials import SingleGalleryShot
from fastreid_ext.functional.distances import Metric
from fastreid_ext.functional.positive_ranks import positive_ranks
from fastreid_ext.utils.dist import each_rank_its_rows

__all__ = ["RankMetrics", "rank_metrics"]

_DEFAULT_PROTOCOL = Protocol()


@dataclass(frozen=True, eq=False)
class RankMetrics:
    """How well a ranking finds a query's identity; on the CPU, averages over the queries that have a match.

    Attributes:
        cmc: share of queries with a match among the first k images, for k = 1, 2, ...; beyond the end of the gallery
            its last value goes on.
        mAP: mean average precision.
        mINP: mean inverse negative penalty (Ye et al., "Deep Learning for Person Re-identification: A Survey and
            Outlook", arXiv:2001.04193): number of matches over the rank of the last one.
        ap: average precision of each query; NaN without a match.
        inp: inverse negative penalty of each query; NaN without a match.
        first_match: rank of each query's first match in the whole gallery, 1-based; 0 without a match.
        r_precision: share of matches among each query's first R images, for its number R of matches; NaN without one.
        ap_at_r: precision at each match among the first R, summed and divided by R; its mean is MAP@R (Musgrave et al.,
            "A Metric Learning Reality Check", ECCV 2020). NaN without a match.
        num_valid: number of queries with a match.
        num_invalid: number of queries without one, left out of all averages.

    Shape:
        cmc: (max_rank,). ap, inp, first_match, r_precision, ap_at_r: (Q,).
    """

    cmc: Tensor
    mAP: float  # noqa: N815  # the field's spelling
    mINP: float  # noqa: N815
    ap: Tensor
    inp: Tensor
    first_match: Tensor
    r_precision: Tensor
    ap_at_r: Tensor
    num_valid: int
    num_invalid: int


@torch.no_grad()
def rank_metrics(
    query_features: Features | None,
    gallery_features: Features | None,
    query_pids: Ids,
    gallery_pids: Ids,
    query_camids: Ids | None = None,
    gallery_camids: Ids | None = None,
    *,
    metric: Metric = "cosine",
    max_rank: int = 50,
    protocol: Protocol = _DEFAULT_PROTOCOL,
    distances: Features | DistanceSource | None = None,
    block_size: int | None = None,
    shard: bool = False,
) -> RankMetrics:
    """Ranks the gallery for each query by distance and scores the ranking.

    The rank of a match is one plus the number of gallery images before it that are not junk; ties go to the lower
    gallery index, as in a stable sort. Half precision is computed in float32. `distances` takes the place of both
    features, which are None then. `protocol.trials` is for the caller, who splits the test set before
    (`data.trials.vehicleid_trial`). `block_size` queries are worked on at once by each thread; by default what keeps
    all of them in 256 MB.

    With `shard` every process of the run calls this with the same arguments, ranks its share of the queries, and
    returns the metrics of all.

    Shape:
        query_features: (Q, D). gallery_features: (G, D). distances: (Q, G).
        query_pids, query_camids: (Q,). gallery_pids, gallery_camids: (G,).

    Raises:
        ValueError: empty, ill-fitting or non-finite input, camera ids missing while the camera rule is on, or no query
            has a match.
    """
    if max_rank < 1 or (block_size is not None and block_size < 1):
        raise ValueError(f"max_rank and block_size must be at least 1; got {max_rank} and {block_size}.")
    source = read_distances(query_features, gallery_features, distances, metric)
    labels = read_labels(query_pids, gallery_pids, query_camids, gallery_camids, source, protocol)
    matches = Matches(labels, protocol)
    draws = protocol.single_gallery_shot
    shot = SingleGalleryShot(matches.gallery_pids, draws, protocol.seed) if draws else None

    def score(queries: slice, block: Tensor) -> _Scores:
        return _score_block(block, matches, shot, queries)

    def score_all(queries: slice) -> _Scores:
        beside = matches.bytes_of_query
        blocks = map_blocks(score, source, queries=queries, block_size=block_size, bytes_beside=beside)
        return _Scores(*(torch.cat(parts).cpu() for parts in zip(*blocks, strict=True)))

    number = source.shape[0]
    scores = _Scores(*each_rank_its_rows(score_all, number)) if shard else score_all(slice(number))
    return _summarise(scores, max_rank)


class _Scores(NamedTuple):
    """What a block of queries scores, (B,) each, and the ranks that the CMC is made of, (B, draws).

    One draw where the CMC is of the whole gallery.
    """

    ap: Tensor
    inp: Tensor
    first_match: Tensor
    r_precision: Tensor
    ap_at_r: Tensor
    cmc_ranks: Tensor


def _score_block(distances: Tensor, matches: Matches, shot: SingleGalleryShot | None, queries: slice) -> _Scores:
    items, positive, junk = matches.of(queries)
    if matches.any_junk:
        distances.masked_fill_(matches.junk, torch.inf)
    row, column = junk.nonzero(as_tuple=True)
    distances[row, items[row, column]] = torch.inf
    ranks = positive_ranks(distances, items, positive)
    number = (ranks > 0).sum(1)
    place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device, dtype=torch.float64)
    precision = torch.where(ranks > 0, place / ranks, 0)
    among_first = (ranks > 0) & (ranks <= number[:, None])
    first = ranks[:, 0]
    return _Scores(
        # Summed in sequence: the padding, which depends on the block, must not change the rounding.
        precision.cumsum(1)[:, -1] / number,
        number.double() / ranks.amax(1),
        first,
        among_first.sum(1).double() / number,
        (precision * among_first).cumsum(1)[:, -1] / number,
        first[:, None] if shot is None else shot.first_matches(distances, items, positive),
    )


def _summarise(scores: _Scores, max_rank: int) -> RankMetrics:
    first = scores.first_match
    valid = first > 0
    num_valid = int(valid.sum())
    if not num_valid:
        raise ValueError(
            f"none of the {len(first)} queries has a match in the gallery. Do query and gallery number identities "
            "alike? Are all images of an identity from one camera (or all camera ids the same), so that the camera "
            "rule removes every match? Then use protocol=Protocol(camera_rule=False), in a config the option "
            "camera_rule=False of MarketLayout and ImageList, --no-camera-rule of tools/evaluate.py for feature files."
        )
    cmc_ranks = scores.cmc_ranks[valid]
    reached = cmc_ranks.flatten().clamp_max(max_rank + 1).bincount(minlength=max_rank + 2)
    cmc = reached.cumsum(0)[1 : max_rank + 1].double() / cmc_ranks.numel()
    per_query = {name: value for name, value in scores._asdict().items() if name != "cmc_ranks"}
    return RankMetrics(
        cmc=cmc,
        mAP=float(scores.ap[valid].mean()),
        mINP=float(scores.inp[valid].mean()),
        **per_query,
        num_valid=num_valid,
        num_invalid=len(first) - num_valid,
    )
