"""Folders in Market-1501's layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastreid_ext.data.datasets import DatasetError, DukeMTMC, Market1501, MarketLayout, VeRi, build_dataset
from fastreid_ext.data.sample import Sample

MakeFiles = Callable[[Sequence[str]], None]

MARKET = [
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c6s1_000801_01.JPG",
    "bounding_box_train/0007_c3s3_077419_03.jpeg",
    "bounding_box_train/-1_c3s3_077419_03.jpg",
    "bounding_box_train/Thumbs.db",
    "bounding_box_train/._0002_c1s1_000451_03.jpg",
    "query/0001_c2s1_001976_00.png",
    "bounding_box_test/0001_c1s1_001051_03.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/0000_c4s1_000151_01.jpg",
]


def expected(folder: Path) -> tuple[list[Sample], list[Sample], list[Sample]]:
    train = [
        Sample(str(folder / "bounding_box_train/0002_c1s1_000451_03.jpg"), 2, 0),
        Sample(str(folder / "bounding_box_train/0002_c6s1_000801_01.JPG"), 2, 5),
        Sample(str(folder / "bounding_box_train/0007_c3s3_077419_03.jpeg"), 7, 2),
    ]
    query = [Sample(str(folder / "query/0001_c2s1_001976_00.png"), 1, 1)]
    gallery = [
        Sample(str(folder / "bounding_box_test/0000_c4s1_000151_01.jpg"), 0, 3),
        Sample(str(folder / "bounding_box_test/0001_c1s1_001051_03.jpg"), 1, 0),
    ]
    return train, query, gallery


@pytest.mark.parametrize("prefix", ["Market-1501-v15.09.15", ""])
def test_market1501(prefix: str, tmp_path: Path, make_files: MakeFiles) -> None:
    make_files([str(Path(prefix, name)) for name in MARKET])
    dataset = Market1501(tmp_path, strict=False)
    assert (dataset.train, dataset.query, dataset.gallery) == expected(tmp_path / prefix)
    assert dataset.counts()["gallery_ids"] == 1
    assert dataset.protocol.camera_rule
    assert dataset.trials() == [(dataset.query, dataset.gallery)]


def test_half_copied_market1501_is_an_error(tmp_path: Path, make_files: MakeFiles) -> None:
    make_files([f"Market-1501-v15.09.15/{name}" for name in MARKET])
    with pytest.raises(DatasetError, match=r"train_images: 3 instead of 12936.*gallery_images: 2 instead of 15913"):
        Market1501(tmp_path)


def test_missing_and_empty_folders_are_errors(tmp_path: Path, make_files: MakeFiles) -> None:
    make_files([f"Market-1501-v15.09.15/{name}" for name in MARKET if not name.startswith("query")])
    with pytest.raises(DatasetError, match=r"not found: [^,]*Market-1501-v15\.09\.15/query\."):
        Market1501(tmp_path, strict=False)
    (tmp_path / "Market-1501-v15.09.15/query").mkdir()
    with pytest.raises(DatasetError, match="no images found for query"):
        Market1501(tmp_path, strict=False)


def test_500k_distractors(tmp_path: Path, make_files: MakeFiles) -> None:
    make_files([f"Market-1501-v15.09.15/{name}" for name in MARKET])
    with pytest.raises(DatasetError, match=r"Market-1501-v15.09.15/images"):
        Market1501(tmp_path, distractors_500k=True, strict=False)
    make_files([f"Market-1501-v15.09.15/images/{name}" for name in ("b.jpg", "0005_c1_a.jpg")])
    dataset = Market1501(tmp_path, distractors_500k=True, strict=False)
    folder = tmp_path / "Market-1501-v15.09.15"
    extra = [Sample(str(folder / "images" / name), 0, 0) for name in ("0005_c1_a.jpg", "b.jpg")]
    assert dataset.gallery == expected(folder)[2] + extra
    assert "gallery_images" not in dataset.published()


def test_dukemtmc(tmp_path: Path, make_files: MakeFiles) -> None:
    names = ["bounding_box_train/0001_c2_f1.jpg", "query/0005_c1_f2.jpg", "bounding_box_test/0005_c8_f3.jpg"]
    make_files([f"DukeMTMC-reID/{name}" for name in names])
    dataset = DukeMTMC(tmp_path, strict=False)
    paths = [str(tmp_path / "DukeMTMC-reID" / name) for name in names]
    assert dataset.train == [Sample(paths[0], 1, 1)]
    assert dataset.query == [Sample(paths[1], 5, 0)]
    assert dataset.gallery == [Sample(paths[2], 5, 7)]
    with pytest.raises(DatasetError, match="train_images: 1 instead of 16522"):
        DukeMTMC(tmp_path)


def test_veri(tmp_path: Path, make_files: MakeFiles) -> None:
    names = ["image_train/0001_c001_1_0.jpg", "image_query/0776_c020_2_0.jpg", "image_test/0776_c007_3_0.jpg"]
    make_files([f"veri/{name}" for name in names])
    dataset = VeRi(tmp_path, strict=False)
    paths = [str(tmp_path / "veri" / name) for name in names]
    assert dataset.train == [Sample(paths[0], 1, 0)]
    assert dataset.query == [Sample(paths[1], 776, 19)]
    assert dataset.gallery == [Sample(paths[2], 776, 6)]
    with pytest.raises(DatasetError, match="train_images: 1 instead of 37778"):
        VeRi(tmp_path)


def test_market_layout_from_the_working_directory_or_the_root(
    tmp_path: Path, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files([f"mine/{name}" for name in MARKET])
    dataset = build_dataset("MarketLayout:mine", str(tmp_path))
    assert (dataset.train, dataset.query, dataset.gallery) == expected(tmp_path / "mine")
    assert dataset.spec == "MarketLayout:mine"
    monkeypatch.chdir(tmp_path)
    dataset = build_dataset("MarketLayout:mine", "elsewhere")
    assert (dataset.train, dataset.query, dataset.gallery) == expected(Path("mine"))


def test_cameras_that_count_from_0(tmp_path: Path, make_files: MakeFiles) -> None:
    names = ["bounding_box_train/1_c0_a.jpg", "query/2_c0_b.jpg", "bounding_box_test/2_c1_c.jpg"]
    make_files([f"mine/{name}" for name in names])
    dataset = build_dataset("MarketLayout:mine,first_camera=0", str(tmp_path))
    assert [sample.camid for sample in dataset.train + dataset.query + dataset.gallery] == [0, 0, 1]
    with pytest.raises(DatasetError, match=r"1_c0_a\.jpg: .*cameras from 1"):
        MarketLayout(tmp_path, "mine")


def test_camera_rule_can_be_switched_off(tmp_path: Path, make_files: MakeFiles) -> None:
    make_files([f"mine/{name}" for name in MARKET])
    assert MarketLayout(tmp_path, "mine").protocol.camera_rule
    assert not build_dataset("MarketLayout:mine,camera_rule=False", str(tmp_path)).protocol.camera_rule


@pytest.mark.parametrize("name", ["portrait.jpg", "-2_c1.jpg", "0001-c1.jpg", "copy of 0001_c1.jpg"])
def test_names_without_identity_or_camera_are_errors(name: str, tmp_path: Path, make_files: MakeFiles) -> None:
    make_files([f"mine/{other}" for other in MARKET] + [f"mine/query/{name}"])
    with pytest.raises(DatasetError, match=f"query/{name}: the name does not begin with"):
        MarketLayout(tmp_path, "mine")


def test_order_does_not_depend_on_the_file_system(
    tmp_path: Path, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files([f"mine/{name}" for name in MARKET])
    before = MarketLayout(tmp_path, "mine").train
    scandir = os.scandir

    @contextmanager
    def backwards(path: Path) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(path) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)

    monkeypatch.setattr(os, "scandir", backwards)
    assert MarketLayout(tmp_path, "mine").train == before
