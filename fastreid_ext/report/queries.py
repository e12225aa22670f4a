"""Which queries a report lists, and what it tells of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fastreid_ext.evaluation.nearest_images import NearestImages, Retrieved
from fastreid_ext.evaluation.rank import RankMetrics
from fastreid_ext.report.payload import QueryRow, Result

__all__ = ["by_precision", "choose_listed", "query_rows"]

_DIGITS = 4


def by_precision(precisions: Sequence[float]) -> list[int]:
    """Places of the queries that have a match, those of the lowest average precision first."""
    with_match = [place for place, precision in enumerate(precisions) if not math.isnan(precision)]
    return sorted(with_match, key=precisions.__getitem__)


def choose_listed(precisions: Sequence[float], number: int) -> list[int]:
    """Places of at most so many queries, ascending: the worst, and as many spread evenly over all better ones.

    Those without a match are among them if there is room for all.
    """
    if len(precisions) <= number:
        return list(range(len(precisions)))
    ascending = by_precision(precisions)
    if len(ascending) <= number:
        return sorted(ascending)
    worst, others = ascending[: (number + 1) // 2], ascending[(number + 1) // 2 :]
    # From the best on, which is always there.
    spread = [others[-1 - place * len(others) // (number // 2)] for place in range(number // 2)]
    return sorted([*worst, *spread])


def query_rows(
    nearest: NearestImages, ranks: RankMetrics, places: Sequence[int], *, columns: int, image_at: Callable[[int], int]
) -> list[QueryRow]:
    """A row a query.

    Args:
        nearest: what they are ranked with.
        ranks: their scores.
        places: of those that are listed, among the queries.
        columns: images of each ranking.
        image_at: from an image of the feature set to its place in the payload.
    """
    found, matches = nearest.of_all(columns), nearest.numbers_of_matches()
    precisions, firsts = ranks.ap.tolist(), ranks.first_match.tolist()
    rows: list[QueryRow] = []
    for place in places:
        retrieved, first = found[place], firsts[place] or None
        row: QueryRow = {
            "image": image_at(retrieved.query),
            "ap": None if first is None else round(precisions[place], _DIGITS),
            "first": first,
            "matches": matches[place],
            "results": _results(retrieved, image_at),
            "found": _found(retrieved, image_at),
        }
        rows.append(row)
    return rows


def _results(retrieved: Retrieved, image_at: Callable[[int], int]) -> list[Result]:
    each = zip(retrieved.images, retrieved.distances, retrieved.right, strict=True)
    return [(image_at(image), _rounded(distance), int(right)) for image, distance, right in each]


def _found(retrieved: Retrieved, image_at: Callable[[int], int]) -> Result | None:
    if retrieved.first_right is None or any(retrieved.right):
        return None
    image, distance = retrieved.first_right
    return image_at(image), _rounded(distance), 1


def _rounded(distance: float) -> float:
    return float(f"{distance:.{_DIGITS}g}")
