"""The nearest gallery images of queries, ranked as the evaluation ranks them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fastreid_ext.evaluation.blocks import map_blocks
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.matches import Matches
from fastreid_ext.evaluation.rank import RankMetrics, rank_metrics
from fastreid_ext.evaluation.rank_inputs import read_distances, read_labels
from fastreid_ext.evaluation.rankings import Rankings
from fastreid_ext.evaluation.roc import RocCurve, roc_curve

__all__ = ["NearestImages", "Order", "Retrieved", "choose_queries", "new_identities_first"]

Order = Literal["random", "best", "worst"]

_LISTED = 5
_BLOCK = 512


@dataclass(frozen=True)
class Retrieved:
    """A query and the first images of its ranking, as indices of the feature set's images.

    Attributes:
        query: the image that is looked for.
        images: nearest first, without junk.
        distances: of these; squared for "euclidean".
        right: whether they show the query's identity.
        first_right: the first image of the whole ranking that does, and its distance; None without a match.
    """

    query: int
    images: list[int]
    distances: list[float]
    right: list[bool]
    first_right: tuple[int, float] | None


class NearestImages:
    """The gallery of a set's first trial as its queries see it; distances are computed for those that ask.

    Attributes:
        ranking: name of the ranking: that of everything the options ask for, "" for the plain one.
        pids: of the queries.

    Args:
        features: of the images.
        rankings: the options of the ranking.

    Shape:
        pids: (Q,).

    Raises:
        ValueError: features are not finite, query or gallery is empty, or neighbourhoods are larger than the set.
    """

    def __init__(self, features: FeatureSet, rankings: Rankings) -> None:
        features.check()
        self._queries, self._gallery = features.trials[0]
        self._protocol, same = features.protocol, features.protocol.query_is_gallery
        rankings.check(len(self._queries), len(self._gallery), same=same)
        values = rankings.normalized(features).values
        of_queries = values[self._queries]
        *_, (self.ranking, ranked) = rankings.of(of_queries, of_queries if same else values[self._gallery], same=same)
        self._source = read_distances(ranked.query_features, ranked.gallery_features, ranked.distances, rankings.metric)
        self.pids = features.pids[self._queries]
        cameras = features.camids[self._queries], features.camids[self._gallery]
        gallery_pids = features.pids[self._gallery]
        self._labels = read_labels(self.pids, gallery_pids, *cameras, self._source, self._protocol)
        self._matches = Matches(self._labels, self._protocol)

    def of(self, query: int, number: int) -> Retrieved:
        """The first images of a query's ranking; ties go to the lower gallery index.

        Args:
            query: place among the queries.
            number: images; fewer where the gallery has no more.
        """
        rows = slice(query, query + 1)
        distances = self._source.rows(rows, torch.empty(1, len(self._gallery), dtype=self._source.dtype))
        items, positive, junk = self._matches.of(rows)
        self._pass_over(distances, items, junk)
        (first_right,) = self._first_right(distances, items, positive)
        ascending, order = distances[0].sort(stable=True)
        order = order[ascending.isfinite()][:number]
        is_right = torch.isin(order, items[positive])
        images, near, right = (part.tolist() for part in (self._gallery[order], distances[0, order], is_right))
        return Retrieved(int(self._queries[query]), images, near, right, first_right)

    def of_all(self, number: int) -> list[Retrieved]:
        """The first images of the rankings of all queries, as `of` gives them, a block of queries at a time.

        Args:
            number: images of each; fewer where the gallery has no more.
        """

        def search(queries: slice, block: Tensor) -> list[Retrieved]:
            items, positive, junk = self._matches.of(queries)
            self._pass_over(block, items, junk)
            firsts = self._first_right(block, items, positive)
            distances, order = _first_of_rows(block, min(number, block.shape[1]))
            # What is of the query's identity and none of its matches is junk, thus not finite.
            is_right = self._matches.gallery_pids[order] == self.pids[queries, None]
            parts = self._queries[queries], self._gallery[order], distances, is_right, distances.isfinite().sum(1)
            each = zip(*(part.tolist() for part in parts), firsts, strict=True)
            return [
                Retrieved(query, images[:n], near[:n], right[:n], first)
                for query, images, near, right, n, first in each
            ]

        # Of the size of those of `rank_metrics`, so that distances do not differ in their last bit.
        blocks = map_blocks(search, self._source, bytes_beside=self._matches.bytes_of_query)
        return [found for block in blocks for found in block]

    def has_match(self, query: int) -> bool:
        """Whether the gallery has an image of the query's identity that is not junk for it."""
        _, positive, _ = self._matches.of(slice(query, query + 1))
        return bool(positive.any())

    def numbers_of_matches(self) -> list[int]:
        """How many gallery images of its identity there are for each query, without those that are junk for it."""
        blocks = (slice(start, start + _BLOCK) for start in range(0, len(self.pids), _BLOCK))
        return [number for block in blocks for number in self._matches.of(block)[1].sum(1).tolist()]

    def ranks(self, max_rank: int = 50) -> RankMetrics:
        """What the ranking scores; distances of all queries are computed.

        Raises:
            ValueError: no query has a match.
        """
        inputs = (None, None, *self._labels)
        return rank_metrics(*inputs, distances=self._source, protocol=self._protocol, max_rank=max_rank)

    def roc(self) -> RocCurve:
        """The ROC of all pairs of a query and a gallery image.

        Raises:
            ValueError: there is no genuine or no impostor pair.
        """
        return roc_curve(None, None, *self._labels, distances=self._source, protocol=self._protocol)

    def average_precisions(self) -> list[float]:
        """Of all queries, whose distances are all computed; NaN without a match.

        Raises:
            ValueError: no query has a match.
        """
        precisions: list[float] = self.ranks().ap.tolist()
        return precisions

    def _first_right(self, distances: Tensor, items: Tensor, positive: Tensor) -> list[tuple[int, float] | None]:
        """The nearest match of each query; of equally near ones that of the lower gallery index."""
        near = distances.gather(1, items).masked_fill_(~positive, torch.inf)
        first = near.argmin(1, keepdim=True)
        images, least = self._gallery[items.gather(1, first)], near.gather(1, first)
        each = zip(images.flatten().tolist(), least.flatten().tolist(), strict=True)
        return [(image, distance) if math.isfinite(distance) else None for image, distance in each]

    def _pass_over(self, distances: Tensor, items: Tensor, junk: Tensor) -> None:
        """Puts what is junk for queries behind everything else."""
        if self._matches.any_junk:
            distances.masked_fill_(self._matches.junk, torch.inf)
        rows, columns = junk.nonzero(as_tuple=True)
        distances[rows, items[rows, columns]] = torch.inf


def _first_of_rows(distances: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The nearest of each row and their places, as a stable sort has them.

    Shape:
        distances: (B, G).
        Results: (B, number).
    """
    nearest, places = distances.topk(number, largest=False)
    # Of equal distances topk takes any, in any order.
    tied = (distances <= nearest[:, -1:]).sum(1) > number
    tied |= (nearest[:, 1:] == nearest[:, :-1]).any(1)
    for row in tied.nonzero().flatten().tolist():
        ascending, order = distances[row].sort(stable=True)
        nearest[row], places[row] = ascending[:number], order[:number]
    return nearest, places


def choose_queries(
    nearest: NearestImages, number: int, *, order: Order = "random", seed: int = 0, pids: Collection[int] = ()
) -> list[int]:
    """Queries with a match, as places among the queries: one of each identity before others of the same.

    Args:
        nearest: what they are ranked with.
        number: of queries; fewer where there are no more.
        order: "best" and "worst" go by average precision, for which all queries are ranked.
        seed: of the random order, in which equally good ones come, too.
        pids: identities to choose from; all if empty.

    Raises:
        ValueError: an identity has no query, or none of the queries has a match.
    """
    of_queries = nearest.pids.tolist()
    unknown = [pid for pid in pids if pid not in of_queries]
    if unknown:
        listed = ", ".join(map(str, unknown[:_LISTED])) + ", ..." * (len(unknown) > _LISTED)
        raise ValueError(f"no query shows identity {listed}; there are queries of {len(set(of_queries))} identities")
    places: list[int] = torch.randperm(len(of_queries), generator=torch.Generator().manual_seed(seed)).tolist()
    if pids:
        places = [place for place in places if of_queries[place] in pids]
    if order != "random":
        precisions = nearest.average_precisions()
        places = sorted(filter(nearest.has_match, places), key=precisions.__getitem__, reverse=order == "best")
    chosen: list[int] = []
    for place in new_identities_first(places, of_queries):
        if len(chosen) == number:
            break
        if nearest.has_match(place):
            chosen.append(place)
    if not chosen:
        raise ValueError("none of these queries has a match in the gallery: there is nothing to draw")
    return chosen


def new_identities_first(places: Iterable[int], pids: list[int]) -> Iterator[int]:
    """Places in their order, the first of each identity before all others."""
    seen: set[int] = set()
    others = []
    for place in places:
        if pids[place] in seen:
            others.append(place)
        else:
            seen.add(pids[place])
            yield place
    yield from others
