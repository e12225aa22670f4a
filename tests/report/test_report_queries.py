"""Which queries are listed, and what is told of them."""

from math import nan

import pytest
import torch

from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.nearest_images import NearestImages
from fastreid_ext.evaluation.rankings import Rankings
from fastreid_ext.report.queries import by_precision, choose_listed, query_rows

PRECISIONS = [0.9, 0.1, nan, 0.5, 0.3, 1.0, 0.7, nan, 0.2, 0.8]


def test_precisions_ascend_without_queries_that_have_no_match() -> None:
    assert by_precision(PRECISIONS) == [1, 8, 4, 3, 6, 9, 0, 5]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (10, list(range(10))),
        (99, list(range(10))),
        (9, [0, 1, 3, 4, 5, 6, 8, 9]),
        (8, [0, 1, 3, 4, 5, 6, 8, 9]),
        # The two worst, and of the others the best and the one in the middle.
        (4, [1, 5, 6, 8]),
        (3, [1, 5, 8]),
        (2, [1, 5]),
        (1, [1]),
    ],
)
def test_the_worst_are_listed_and_some_of_the_others(number: int, expected: list[int]) -> None:
    assert choose_listed(PRECISIONS, number) == expected


def test_rows_tell_what_a_query_finds() -> None:
    values = torch.tensor([[0.0], [5.0], [1.0], [-2.0], [4.0], [9.0], [0.5]])
    pids, camids = torch.tensor([3, 7, 3, 4, 3, 3, -1]), torch.tensor([0, 0, 1, 1, 0, 1, 1])
    features = FeatureSet("mine", values, pids, camids, [(torch.arange(2), torch.arange(2, 7))])
    nearest = NearestImages(features, Rankings("euclidean"))
    rows = query_rows(nearest, nearest.ranks(), [0, 1], columns=3, image_at=lambda image: 10 + image)
    # Image 4 is of the first query's camera, image 6 is junk.
    assert rows[0] == {
        "image": 10,
        "ap": round((1 + 2 / 3) / 2, 4),
        "first": 1,
        "matches": 2,
        "results": [(12, 1.0, 1), (13, 4.0, 0), (15, 81.0, 1)],
        "found": None,
    }
    nothing = {"image": 11, "ap": None, "first": None, "matches": 0, "found": None}
    assert rows[1] == {**nothing, "results": [(14, 1.0, 0), (12, 16.0, 0), (15, 16.0, 0)]}
    assert query_rows(nearest, nearest.ranks(), [1], columns=1, image_at=int)[0]["results"] == [(4, 1.0, 0)]


def test_the_first_right_image_is_told_however_late_it_comes() -> None:
    values = torch.tensor([[0.0], [1.0], [2.0], [7.0], [5.0], [-5.0]])
    pids, camids = torch.tensor([3, 4, 4, 3, 3, 3]), torch.tensor([0, 1, 1, 1, 0, 1])
    features = FeatureSet("mine", values, pids, camids, [(torch.arange(1), torch.arange(1, 6))])
    nearest = NearestImages(features, Rankings("euclidean"))
    # Image 4 is of the query's camera; ranked are 1, 2, 5, 3.
    for columns, found in ((1, (5, 25.0, 1)), (2, (5, 25.0, 1)), (3, None), (9, None)):
        (row,) = query_rows(nearest, nearest.ranks(), [0], columns=columns, image_at=int)
        assert (row["first"], row["found"]) == (3, found)
    assert nearest.of(0, 1).first_right == nearest.of_all(1)[0].first_right == (5, 25.0)
