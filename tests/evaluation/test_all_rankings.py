"""The rankings of all queries at once."""

from dataclasses import replace

import pytest
import torch

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.nearest_images import NearestImages
from fastreid_ext.evaluation.rankings import Rankings

RERANKED = Rankings("euclidean", reranking={"k1": 6, "k2": 3, "lambda_value": 0.3, "variant": "paper"})


def some_features(**changes: object) -> FeatureSet:
    """Whole numbers of few values: many distances are equal. Some images are junk."""
    values = torch.randint(0, 3, (120, 3)).float() + 1
    pids, camids = torch.randint(-1, 8, (120,)), torch.randint(0, 3, (120,))
    order = torch.randperm(120)
    features = FeatureSet("mine", values, pids, camids, [(order[:30], order[30:])])
    return replace(features, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [1, 7, 90, 500])
@pytest.mark.parametrize("ranked", ["cosine", "euclidean", "rerank"])
def test_they_are_those_of_each_query(ranked: str, number: int) -> None:
    # Cosines of equal directions round as the size of the block has it.
    changes = {"values": torch.randn(120, 3)} if ranked == "cosine" else {}
    rankings = {"cosine": Rankings(), "euclidean": Rankings("euclidean"), "rerank": RERANKED}[ranked]
    nearest = NearestImages(some_features(**changes), rankings)
    found = nearest.of_all(number)
    for place, all_at_once in enumerate(found):
        alone = nearest.of(place, number)
        assert (alone.query, alone.images, alone.right) == (all_at_once.query, all_at_once.images, all_at_once.right)
        assert alone.distances == pytest.approx(all_at_once.distances, abs=1e-6)
    assert len(found) == 30


def test_a_set_that_is_its_own_gallery() -> None:
    everything = torch.arange(120)
    protocol = Protocol(camera_rule=False, query_is_gallery=True)
    nearest = NearestImages(some_features(trials=[(everything, everything)], protocol=protocol), Rankings("euclidean"))
    for place, found in enumerate(nearest.of_all(119)):
        assert found == nearest.of(place, 119) and found.query not in found.images


def test_scores_fit_the_rankings() -> None:
    nearest = NearestImages(some_features(), Rankings("euclidean"))
    ranks, matches = nearest.ranks(), nearest.numbers_of_matches()
    for place, found in enumerate(nearest.of_all(90)):
        assert sum(found.right) == matches[place]
        first = found.right.index(True) + 1 if any(found.right) else 0
        assert ranks.first_match[place] == first


def test_the_roc_counts_what_is_no_junk() -> None:
    nearest = NearestImages(some_features(), Rankings("euclidean"))
    roc, found = nearest.roc(), nearest.of_all(90)
    of_somebody = [each for each in found if nearest.pids[found.index(each)] != -1]
    assert roc.num_genuine == sum(map(sum, (each.right for each in of_somebody)))
    assert roc.num_genuine + roc.num_impostor == sum(len(each.images) for each in of_somebody)
