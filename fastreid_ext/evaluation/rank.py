"""CMC, mAP and mINP of a ranking, without sorting the gallery and without the whole distance matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid_ext.data.protocol import Protocol
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
        num_valid: number of queries with a match.
        num_invalid: number of queries without one, left out of all averages.

    Shape:
        cmc: (max_rank,). ap, inp, first_match: (Q,).
    """

    cmc: Tensor
    mAP: float  # noqa: N815  # the field's spelling
    mINP: float  # noqa: N815
    ap: Tensor
    inp: Tensor
    first_match: Tensor
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
    distances: Features | None = None,
    block_size: int | None = None,
) -> RankMetrics:
    """Ranks the gallery for each query by distance and scores the ranking.

    The rank of a match is one plus the number of gallery images before it that are not junk; ties go to the lower
    gallery index, as in a stable sort. Half precision is computed in float32. `distances` takes the place of both
    features, which are None then. `protocol.trials` is for the caller, who splits the test set before
    (`data.trials.vehicleid_trial`). `block_size` queries are worked on at once; by default what fits in 40 MB.

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
    blocks = [_score_block(source, matches, shot, queries) for queries in source.blocks(block_size)]
    ap, inp, first, cmc_ranks = (torch.cat(parts).cpu() for parts in zip(*blocks, strict=True))
    return _summarise(ap, inp, first, cmc_ranks, max_rank)


def _score_block(
    source: DistanceSource, matches: Matches, shot: SingleGalleryShot | None, queries: slice
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """AP, INP, rank of the first match, and the ranks that the CMC is made of.

    Shape:
        Result: (B,), (B,), (B,), (B, draws); one draw where the CMC is of the whole gallery.
    """
    distances = source.rows(queries)
    items, positive, junk = matches.of(queries)
    distances.masked_fill_(matches.junk, torch.inf)
    row, column = junk.nonzero(as_tuple=True)
    distances[row, items[row, column]] = torch.inf
    ap, inp, first = _scores(positive_ranks(distances, items, positive))
    if shot is None:
        return ap, inp, first, first[:, None]
    return ap, inp, first, shot.first_matches(distances, items, positive)


def _scores(ranks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """AP, INP and first rank of each query, (B,) each, from the ranks of its positives, (B, P), padded with 0."""
    number = (ranks > 0).sum(1)
    place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device, dtype=torch.float64)
    precision = torch.where(ranks > 0, place / ranks, 0)
    last = ranks.amax(1)
    return precision.sum(1) / number, number.double() / last, ranks[:, 0]


def _summarise(ap: Tensor, inp: Tensor, first: Tensor, cmc_ranks: Tensor, max_rank: int) -> RankMetrics:
    valid = first > 0
    num_valid = int(valid.sum())
    if not num_valid:
        raise ValueError(
            f"none of the {len(first)} queries has a match in the gallery. Do query and gallery number identities "
            "alike? Are all images of an identity from one camera (or all camera ids the same), so that the camera "
            "rule removes every match? Then use protocol=Protocol(camera_rule=False), in a config the option "
            "camera_rule=False of MarketLayout and ImageList."
        )
    reached = cmc_ranks[valid].flatten().clamp_max(max_rank + 1).bincount(minlength=max_rank + 2)
    cmc = reached.cumsum(0)[1 : max_rank + 1].double() / cmc_ranks[valid].numel()
    mean_ap, mean_inp = float(ap[valid].mean()), float(inp[valid].mean())
    return RankMetrics(cmc, mean_ap, mean_inp, ap, inp, first, num_valid, len(first) - num_valid)
