"""The base class, its registry, and what holds for every data set."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import pytest

from fastreid_ext.config import ConfigError
from fastreid_ext.data.datasets import DATASETS, DatasetError, ReIDDataset, build_dataset
from fastreid_ext.data.sample import Sample

PUBLISHED = [
    "CUB200",
    "CUHK03",
    "Cars196",
    "DukeMTMC",
    "InShop",
    "MSMT17",
    "Market1501",
    "SOP",
    "SmallVehicleID",
    "MediumVehicleID",
    "LargeVehicleID",
    "VehicleID",
    "VeRi",
    "SmallVeRiWild",
    "MediumVeRiWild",
    "LargeVeRiWild",
    "VeRiWild",
]


class Tiny(ReIDDataset):
    """Two people, a distractor and a junk image."""

    layout = "tiny/"
    distractor_pids = frozenset({0})

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.train = [Sample(str(folder / "t.jpg"), 7, 0)]
        self.query = [Sample(str(folder / "q.jpg"), 1, 0)]
        self.gallery = [Sample(str(folder / f"g{pid}.jpg"), pid, 1) for pid in (1, 2, 0, -1)]

    def published(self) -> Mapping[str, int]:
        return {"gallery_images": 4, "gallery_ids": 2}


def test_junk_and_distractors_are_no_identities(tmp_path: Path) -> None:
    dataset = Tiny(tmp_path)
    assert dataset.counts() == {
        "train_images": 1,
        "train_ids": 1,
        "query_images": 1,
        "query_ids": 1,
        "gallery_images": 4,
        "gallery_ids": 2,
    }
    assert dataset.summary() == [("train", 1, 1, 1), ("query", 1, 1, 1), ("gallery", 2, 4, 1)]


def test_pid_0_is_an_identity_where_somebody_asks_for_it(tmp_path: Path) -> None:
    dataset = Tiny(tmp_path)
    dataset.query.append(Sample("q0.jpg", 0, 0))
    assert dataset.counts()["gallery_ids"] == 3
    assert dataset.counts()["query_ids"] == 2


def test_check_compares_counts_and_looks_for_the_images(tmp_path: Path) -> None:
    dataset = Tiny(tmp_path)
    dataset.check(strict=False)
    with pytest.raises(DatasetError, match=r"6 images not found, the first is .*t\.jpg"):
        dataset.check()
    for sample in [*dataset.train, *dataset.query, *dataset.gallery]:
        Path(sample.path).touch()
    dataset.check()
    dataset.gallery.pop(1)
    with pytest.raises(DatasetError, match="gallery_images: 3 instead of 4; gallery_ids: 1 instead of 2"):
        dataset.check()


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_folder_names_the_path_and_the_layout(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        build_dataset(name, str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert DATASETS.get(name).layout in str(caught.value)
    assert "FASTREID_DATASETS" in str(caught.value)


@pytest.mark.parametrize("name", ["MarketLayout", "ImageList"])
def test_missing_path_of_a_user_names_both_places(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        build_dataset(f"{name}:mine/set", str(tmp_path))
    assert str(Path.cwd() / "mine/set") in str(caught.value)
    assert str(tmp_path / "mine/set") in str(caught.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_data_set_says_where_it_comes_from(name: str) -> None:
    entry = next(entry for entry in DATASETS if entry.name == name)
    assert entry.source
    documented = next(c for c in inspect.getmro(DATASETS.get(name)) if "Args:" in (c.__doc__ or ""))
    text = inspect.getdoc(documented) or ""
    assert all(part in text for part in ("Reference:", "Link:", "Counts:", "Layout:"))
    for parameter in inspect.signature(documented).parameters:
        assert f"\n    {parameter}: " in text


def test_fastreid_names() -> None:
    names = ["CUB", "Cars196", "SOP", "InShop", "VehicleID", "SmallVehicleID", "VeRiWild", "LargeVeRiWild", "VeRi"]
    assert all(name in DATASETS for name in names)


def test_unknown_option_is_an_error() -> None:
    with pytest.raises(ConfigError, match="Did you mean labeled"):
        build_dataset("CUHK03:labelled=False")
