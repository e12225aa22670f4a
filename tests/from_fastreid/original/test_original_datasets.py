"""The same folders read by FastReID and here: the same images, identities and cameras, or differences on purpose."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from PIL import Image

from fastreid_ext.data.datasets import CUHK03, DATASETS, build_dataset
from fastreid_ext.data.sample import Sample

TESTS = Path(__file__).resolve().parents[2]
sys.path += [str(TESTS / "from_fastreid"), str(TESTS / "data")]

from path_layouts import LAYOUTS  # noqa: E402
from test_datasets_cuhk03 import write_mat, write_new_protocol  # noqa: E402
from tiny_sets import TINY_SETS  # noqa: E402

# FastReID's data sets for testing only are in one of its projects, which no package holds.
TRAINING = [name for name in LAYOUTS if "Partial" not in name and name != "OccludedREID"]
Ids = dict[str, tuple[str, str]]


def original(name: str, root: Path) -> Any:
    return DATASET_REGISTRY.get(name)(root=str(root))


def without_prefix(dataset: Any) -> Ids:
    """For each training image its identity and camera, as texts without the name of the set."""
    prefix = f"{dataset.dataset_name}_"
    assert all(value.startswith(prefix) for _, *ids in dataset.train for value in ids)
    return {path: tuple(value.removeprefix(prefix) for value in ids) for path, *ids in dataset.train}


def ids(samples: list[Sample] | list[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
    return {path: (pid, camid) for path, pid, camid in samples}


def assert_same_groups(theirs: list[str], ours: list[int]) -> None:
    """Equal numbers, or numbers for texts: one for each."""
    if all(text.isdecimal() for text in theirs):
        assert [int(text) for text in theirs] == ours
    assert len(set(zip(theirs, ours, strict=True))) == len(set(theirs)) == len(set(ours))


def make(name: str, root: Path) -> None:
    """The files of a set for training, also those of nobody in particular."""
    layout = LAYOUTS[name]
    # FastReID fails at hidden images where it walks through folders.
    beside = [path for path in layout.beside if not Path(path).name.startswith("._")]
    for path in (*layout.read, *layout.unnamed, *beside):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    if name == "AirportALERT":
        below = [Path(path).relative_to(name).parts for path in (*layout.read, *layout.unnamed)]
        (root / name / "filepath.txt").write_text("".join("\\".join(parts) + "\n" for parts in below), encoding="utf-8")


def test_every_data_set_of_fastreid_is_here() -> None:
    names = set(DATASET_REGISTRY._obj_map)
    assert len(names) == 30 and {name for name in names if name in DATASETS} == names > set(TRAINING)


@pytest.mark.parametrize("name", TRAINING)
def test_training_sets(name: str, tmp_path: Path) -> None:
    make(name, tmp_path)
    theirs, ours = without_prefix(original(name, tmp_path)), ids(build_dataset(name, str(tmp_path), strict=False).train)
    if name in ("GRID", "cuhkSYSU"):
        # There, all people whom nobody told apart are one identity.
        unnamed = {str(tmp_path / path) for path in LAYOUTS[name].unnamed}
        assert unnamed and len({theirs.pop(path)[0] for path in unnamed}) == 1
    assert theirs.keys() == ours.keys()
    assert_same_groups([theirs[path][0] for path in ours], [pid for pid, _ in ours.values()])
    cameras = [theirs[path][1] for path in ours]
    if name == "LPW":
        # There, cameras of one number in different scenes are one camera.
        assert (len(set(cameras)), len({camid for _, camid in ours.values()})) == (2, 4)
        cameras = [f"{Path(path).parts[-4]} {camera}" for path, camera in zip(ours, cameras, strict=True)]
    assert_same_groups(cameras, [camid for _, camid in ours.values()])


@pytest.mark.parametrize("name", ["DukeMTMC", "Market1501", "VeRi"])
def test_published_sets(name: str, tmp_path: Path) -> None:
    TINY_SETS[name](tmp_path)
    theirs, ours = original(name, tmp_path), build_dataset(name, str(tmp_path), strict=False)
    train = {path: (int(pid), int(camid)) for path, (pid, camid) in without_prefix(theirs).items()}
    assert train == ids(ours.train)
    for split in ("query", "gallery"):
        assert ids(getattr(theirs, split)) == ids(getattr(ours, split))


@pytest.mark.parametrize("name", ["VeRiWild", "SmallVeRiWild", "MediumVeRiWild", "LargeVeRiWild"])
def test_veriwild(name: str, tmp_path: Path) -> None:
    TINY_SETS["VeRiWild"](tmp_path)
    theirs, ours = original(name, tmp_path), build_dataset(name, str(tmp_path), strict=False)
    train = {path: (int(pid), int(camid)) for path, (pid, camid) in without_prefix(theirs).items()}
    # There, cameras keep their published numbers; here they count from 0.
    cameras = dict[int, int]()
    for expected, found in (
        (train, ids(ours.train)),
        (ids(theirs.query), ids(ours.query)),
        (ids(theirs.gallery), ids(ours.gallery)),
    ):
        assert {path: pid for path, (pid, _) in expected.items()} == {path: pid for path, (pid, _) in found.items()}
        assert all(cameras.setdefault(expected[path][1], camid) == camid for path, (_, camid) in found.items())
    assert sorted(cameras.values()) == list(range(len(cameras))) and len(cameras) > 1


def test_msmt17(tmp_path: Path) -> None:
    TINY_SETS["MSMT17"](tmp_path)
    theirs = original("MSMT17", tmp_path)
    ours = build_dataset("MSMT17:combine_val=False", str(tmp_path), strict=False)
    train = {path: (int(pid), int(camid)) for path, (pid, camid) in without_prefix(theirs).items()}
    assert train == ids(ours.train)
    for split in ("query", "gallery"):
        assert ids(getattr(theirs, split)) == ids(getattr(ours, split))
    assert len(build_dataset("MSMT17", str(tmp_path), strict=False).train) > len(train)


@pytest.mark.parametrize("name", ["VehicleID", "SmallVehicleID", "MediumVehicleID", "LargeVehicleID"])
def test_vehicleid(name: str, tmp_path: Path) -> None:
    TINY_SETS["VehicleID"](tmp_path)
    theirs, ours = original(name, tmp_path), build_dataset(name, str(tmp_path), strict=False)
    train = {path: int(pid) for path, (pid, _) in without_prefix(theirs).items()}
    assert train == {sample.path: sample.pid for sample in ours.train}
    # There, images are shuffled anew each time, and each has a camera of its own.
    tests = {path: pid for path, pid, _ in theirs.query + theirs.gallery}
    assert tests == {sample.path: sample.pid for sample in ours.query + ours.gallery}
    assert len(theirs.gallery) == len(ours.gallery) == len(set(tests.values()))
    assert not ours.protocol.camera_rule and ours.protocol.trials == 10


@pytest.mark.parametrize("classic", [False, True])
@pytest.mark.parametrize("labeled", [True, False])
def test_cuhk03(labeled: bool, classic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All that FastReID wants of a package that nothing else needs.
    imageio = SimpleNamespace(imwrite=lambda path, pixels: Image.fromarray(pixels).save(path))
    monkeypatch.setitem(sys.modules, "imageio", imageio)
    write_mat(tmp_path / "cuhk03/cuhk03_release/cuhk-03.mat")
    for kind in ("labeled", "detected"):
        write_new_protocol(tmp_path / "cuhk03", kind)
    theirs = DATASET_REGISTRY.get("CUHK03")(
        root=str(tmp_path), cuhk03_labeled=labeled, cuhk03_classic_split=classic, split_id=0
    )
    ours = CUHK03(tmp_path, labeled=labeled, protocol="classic" if classic else "new", strict=False)
    assert theirs.train and theirs.query
    prefix = f"{theirs.dataset_name}_"
    train = [(path, *(int(value.removeprefix(prefix)) for value in values)) for path, *values in theirs.train]
    for expected, found in ((train, ours.train), (theirs.query, ours.query), (theirs.gallery, ours.gallery)):
        # The extracted images lie in other folders, and identities are numbered in another way.
        assert [Path(path).name for path, *_ in expected] == [Path(sample.path).name for sample in found]
        assert [camid for *_, camid in expected] == [sample.camid for sample in found]
        pairs = {(pid, sample.pid) for (_, pid, _), sample in zip(expected, found, strict=True)}
        assert len(pairs) == len({pid for pid, _ in pairs}) == len({pid for _, pid in pairs})
