"""Which test sets are of another domain than the training's, and who is told."""

from pathlib import Path

import pytest
from torch import nn

from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.sample import Sample
from fastreid_ext.evaluation.domains import in_domain, is_transfer


def dataset(spec: str, *train: str) -> ReIDDataset:
    made = ReIDDataset()
    made.spec, made.train = spec, [Sample(path, 0, 0) for path in train]
    return made


@pytest.mark.parametrize(
    ("test", "trained_on", "transfer"),
    [
        (dataset("VeRi", "v/1.jpg"), [dataset("VeRi", "v/1.jpg")], False),
        (dataset("VeRi"), ["MSMT17", "VeRi"], False),
        (dataset("VeRi", "v/1.jpg"), ["MSMT17"], True),
        # Other options of the same data set: test sizes, distractors, a choice of the training images.
        (dataset("LargeVehicleID", "i/1.jpg", "i/2.jpg"), [dataset("SmallVehicleID", "i/1.jpg", "i/2.jpg")], False),
        (dataset("MSMT17", "m/1.jpg", "m/2.jpg"), [dataset("MSMT17:combine_val=False", "m/1.jpg")], False),
        (dataset("MSMT17:combine_val=False", "m/1.jpg"), [dataset("MSMT17", "m/1.jpg", "m/2.jpg")], False),
        (
            dataset("MarketLayout:/data/m", str(Path("m/1.jpg").absolute())),
            [dataset("MarketLayout:m", "m/1.jpg")],
            False,
        ),
        (dataset("SynthReID:seed=1", "s1/1.jpg"), [dataset("SynthReID:seed=2", "s2/1.jpg")], True),
        (dataset("SynthReID:seed=1", "s1/1.jpg"), [dataset("A", "a"), dataset("B", "s1/1.jpg")], False),
        (dataset("TestsOnly"), [dataset("TrainsOnly")], True),
    ],
)
def test_transfer(test: ReIDDataset, trained_on: list[ReIDDataset | str], transfer: bool) -> None:
    assert is_transfer(test, trained_on) is transfer


class Part(nn.Module):
    seen_domain = True


def test_every_module_that_declares_it_is_told_and_restored() -> None:
    model = nn.Sequential(Part(), nn.Sequential(Part(), nn.Linear(1, 1)))
    model[1][0].seen_domain = False
    with pytest.raises(KeyError), in_domain(model, seen=False):
        assert not model[0].seen_domain and not model[1][0].seen_domain and not hasattr(model[1][1], "seen_domain")
        with in_domain(model, seen=True):
            assert model[1][0].seen_domain
        raise KeyError
    assert model[0].seen_domain and not model[1][0].seen_domain
