"""Data sets whose paths say identity and camera: those for training only, and those for testing only."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from path_layouts import LAYOUTS

from fastreid_ext.config import ConfigError, get_cfg
from fastreid_ext.data.build import build_test_sets, build_train_data
from fastreid_ext.data.datasets import DATASETS, DatasetError, PathRule, ReIDDataset, TrainingFolder, build_dataset
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.validate import validate

MakeFiles = Callable[[Sequence[str]], None]

PARTIAL = {
    "OccludedREID": "OccludedREID/gallery",
    "PartialREID": "Partial_REID/whole_body_images",
    "PartialiLIDS": "PartialiLIDS/gallery",
}
TRAINING = [name for name in LAYOUTS if name not in PARTIAL]


@pytest.fixture
def make(tmp_path: Path, make_files: MakeFiles) -> Callable[..., None]:
    """Makes the files of a set, with what is beside them, and of further images of it."""

    def made(name: str, further: Sequence[str] = ()) -> None:
        layout = LAYOUTS[name]
        images = [*layout.read, *layout.unnamed, *further]
        make_files([*images, *layout.beside])
        if name in PARTIAL:
            make_files([f"{PARTIAL[name]}/{Path(path).name}" for path in layout.read])
        if name == "AirportALERT":
            below = [Path(path).relative_to(name).parts for path in images]
            lines = "".join("\\".join(parts) + "\n" for parts in below)
            (tmp_path / name / "filepath.txt").write_text(lines, encoding="utf-8")

    return made


def lenient(name: str, root: Path) -> ReIDDataset:
    return build_dataset(name, str(root), strict=False)


def expected(name: str, root: Path) -> list[Sample]:
    return [Sample(str(root / path), pid, camid) for path, (pid, camid) in LAYOUTS[name].read.items()]


@pytest.mark.parametrize("name", TRAINING)
def test_training_sets(name: str, tmp_path: Path, make: Callable[..., None]) -> None:
    make(name)
    dataset = lenient(name, tmp_path)
    assert dataset.train == expected(name, tmp_path)
    assert dataset.query == dataset.gallery == []
    assert validate(dataset).ok


@pytest.mark.parametrize("name", PARTIAL)
def test_sets_of_people_in_part(name: str, tmp_path: Path, make: Callable[..., None]) -> None:
    make(name)
    dataset = lenient(name, tmp_path)
    assert dataset.query == expected(name, tmp_path) and dataset.train == []
    found = [(Path(sample.path).name, sample.pid) for sample in dataset.gallery]
    assert found == [(Path(path).name, pid) for path, (pid, _) in LAYOUTS[name].read.items()]
    # The number behind the identity is no camera: all of an identity's gallery images are matches.
    assert dataset.protocol == Protocol(camera_rule=False) and validate(dataset).ok


@pytest.mark.parametrize("name", LAYOUTS)
def test_images_that_do_not_say_whom_they_show(
    name: str, tmp_path: Path, make: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    make(name, [LAYOUTS[name].unread])
    with pytest.raises(DatasetError) as caught:
        build_dataset(name, str(tmp_path))
    text = str(caught.value)
    assert f"{name}: 1 images in " in text and f"{name}:strict=False" in text and DATASETS.get(name).layout in text
    assert text.split("whom they show: ")[1].startswith(tuple(_ends(LAYOUTS[name].unread)))
    with caplog.at_level(logging.WARNING, logger="fastreid_ext"):
        dataset = lenient(name, tmp_path)
    assert (dataset.train or dataset.query) == expected(name, tmp_path)
    assert dataset.unread == [str(tmp_path / LAYOUTS[name].unread)]
    assert f"1 images whose paths do not say whom they show, which are left out:\n  {dataset.unread[0]}" in (
        validate(dataset).to_text()
    )
    assert any("1 images in" in record.message and "left out" in record.message for record in caplog.records)


def _ends(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[place:]) for place in range(len(parts))]


@pytest.mark.parametrize("name", LAYOUTS)
def test_missing_folder_names_the_path_and_the_layout(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        build_dataset(name, str(tmp_path))
    for part in (str(tmp_path), DATASETS.get(name).layout, "FASTREID_DATASETS"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_data_set_says_where_it_comes_from(name: str) -> None:
    entry = next(entry for entry in DATASETS if entry.name == name)
    text = inspect.getdoc(entry.target) or ""
    assert entry.source and "Reference: " in text and "Counts: " in text
    assert "for training only" in entry.description or "for testing only" in entry.description


@pytest.mark.parametrize("name", [name for name in LAYOUTS if DATASETS.get(name).statistics])
def test_half_copied_sets_are_an_error(name: str, tmp_path: Path, make: Callable[..., None]) -> None:
    make(name)
    with pytest.raises(DatasetError, match=r"is not complete or not the published one: \w+_\w+: \d+ instead of"):
        build_dataset(name, str(tmp_path))


@pytest.mark.parametrize("name", ["PRAI", "SYSU_mm", "AirportALERT"])
def test_folders_without_images(name: str, tmp_path: Path) -> None:
    for folder in ("PRAI-1581/images", "AirportALERT", *(f"SYSU-MM01/cam{camera}" for camera in (1, 2, 4, 5))):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "AirportALERT/filepath.txt").touch()
    with pytest.raises(DatasetError, match=f"{name}: no images found for train"):
        build_dataset(name, str(tmp_path))


def test_listed_images_that_are_not_there(tmp_path: Path, make: Callable[..., None]) -> None:
    make("AirportALERT")
    (tmp_path / "AirportALERT/cam1/11002/a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 images not found, the first is .*cam1/11002/a\.jpg"):
        build_dataset("AirportALERT", str(tmp_path))


def test_links_to_folders_are_followed(tmp_path: Path, make: Callable[..., None]) -> None:
    make("Thermalworld")
    (tmp_path / "thermalworld_rgb/12").rename(tmp_path / "elsewhere")
    (tmp_path / "thermalworld_rgb/12").symlink_to(tmp_path / "elsewhere")
    assert lenient("Thermalworld", tmp_path).train == expected("Thermalworld", tmp_path)


def test_identities_that_are_no_numbers_are_numbered(tmp_path: Path, make_files: MakeFiles) -> None:
    make_files(["3DPeS/zoe/a.bmp", "3DPeS/10/a.bmp", "3DPeS/anna/a.bmp"])
    found = {Path(sample.path).parent.name: sample.pid for sample in lenient("PeS3D", tmp_path).train}
    assert found == {"10": 0, "anna": 1, "zoe": 2}


def test_many_unread_images_are_counted_and_the_first_named(tmp_path: Path, make_files: MakeFiles) -> None:
    make_files([f"PKUv1a_128x48/{letter}.png" for letter in "abcdefgh"])
    with pytest.raises(DatasetError, match=r"PKU: 8 images .* whom they show: a\.png, .*, e\.png, \.\.\.\. Move"):
        build_dataset("PKU", str(tmp_path))


def test_a_set_of_ones_own(tmp_path: Path, make_files: MakeFiles) -> None:
    class Shop(TrainingFolder):
        """Two doors of a shop."""

        folder = "shop"
        rule = PathRule(r"(\w+)/id(\d+)\.jpg", pid=r"\2", camera=r"\1")

    make_files(["shop/back/id2.jpg", "shop/front/id2.jpg"])
    folder = tmp_path / "shop"
    assert Shop(tmp_path).train == [Sample(f"{folder}/back/id2.jpg", 2, 0), Sample(f"{folder}/front/id2.jpg", 2, 1)]


def config(names: Sequence[str], tests: Sequence[str], root: Path) -> object:
    cfg = get_cfg()
    cfg.DATASETS.NAMES, cfg.DATASETS.TESTS, cfg.DATASETS.ROOT = tuple(names), tuple(tests), str(root)
    return cfg


def test_joined_for_training(tmp_path: Path, make: Callable[..., None]) -> None:
    for name in TRAINING:
        make(name)
    data = build_train_data(config([f"{name}:strict=False" for name in TRAINING], (), tmp_path))
    ids = [set(LAYOUTS[name].read.values()) for name in TRAINING]
    assert data.num_classes == sum(len({pid for pid, _ in pairs}) for pairs in ids)
    assert data.num_cameras == sum(len({camid for _, camid in pairs}) for pairs in ids)
    assert [data.camera_sets[sample.camid] for sample in data.samples] == [
        place for place, name in enumerate(TRAINING) for _ in LAYOUTS[name].read
    ]


def test_what_a_set_has_no_images_for_is_refused(tmp_path: Path, make: Callable[..., None]) -> None:
    for name in ("PKU", "PRAI", "OccludedREID"):
        make(name)
    specs = [f"{name}:strict=False" for name in ("PKU", "PRAI", "OccludedREID")]
    cfg = config(specs, specs, tmp_path)
    with pytest.raises(ConfigError, match=r"no training images in OccludedREID:strict=False: leave it out of DATASETS"):
        build_train_data(cfg)
    with pytest.raises(
        ConfigError, match=r"in PKU:strict=False, PRAI:strict=False, for training only: leave it out of"
    ):
        build_test_sets(cfg)
    cfg = config(specs[:2], specs[2:], tmp_path)
    assert [dataset.spec for dataset in build_test_sets(cfg)] == specs[2:]
    assert build_train_data(cfg).num_classes == 4
