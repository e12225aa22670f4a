"""The nearest gallery images of a few queries, ranked as the evaluation ranks them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.matches import Matches
from fastreid_ext.evaluation.rank import rank_metrics
from fastreid_ext.evaluation.rank_inputs import read_distances, read_labels
from fastreid_ext.evaluation.rankings import Rankings

__all__ = ["NearestImages", "Order", "Retrieved", "choose_queries"]

Order = Literal["random", "best", "worst"]

_LISTED = 5


@dataclass(frozen=True)
class Retrieved:
    """A query and the first images of its ranking, as indices of the feature set's images.

    Attributes:
        query: the image that is looked for.
        images: nearest first, without junk.
        distances: of these; squared for "euclidean".
        right: whether they show the query's identity.
    """

    query: int
    images: list[int]
    distances: list[float]
    right: list[bool]


class NearestImages:
    """The gallery of a set's first trial as its queries see it; distances are computed for the query that asks.

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
        distances = self._source.rows(rows, torch.empty(1, len(self._gallery), dtype=self._source.dtype))[0]
        items, positive, junk = (each[0] for each in self._matches.of(rows))
        distances[self._matches.junk] = torch.inf
        distances[items[junk]] = torch.inf
        ascending, order = distances.sort(stable=True)
        order = order[ascending.isfinite()][:number]
        return Retrieved(
            int(self._queries[query]),
            self._gallery[order].tolist(),
            distances[order].tolist(),
            torch.isin(order, items[positive]).tolist(),
        )

    def has_match(self, query: int) -> bool:
        """Whether the gallery has an image of the query's identity that is not junk for it."""
        _, positive, _ = self._matches.of(slice(query, query + 1))
        return bool(positive.any())

    def average_precisions(self) -> list[float]:
        """Of all queries, whose distances are all computed; NaN without a match.

        Raises:
            ValueError: no query has a match.
        """
        ranks = rank_metrics(None, None, *self._labels, distances=self._source, protocol=self._protocol)
        precisions: list[float] = ranks.ap.tolist()
        return precisions


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
    for place in _new_identities_first(places, of_queries):
        if len(chosen) == number:
            break
        if nearest.has_match(place):
            chosen.append(place)
    if not chosen:
        raise ValueError("none of these queries has a match in the gallery: there is nothing to draw")
    return chosen


def _new_identities_first(places: Iterable[int], pids: list[int]) -> Iterator[int]:
    seen: set[int] = set()
    others = []
    for place in places:
        if pids[place] in seen:
            others.append(place)
        else:
            seen.add(pids[place])
            yield place
    yield from others
