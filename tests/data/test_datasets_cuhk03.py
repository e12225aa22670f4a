"""CUHK03's MATLAB files, made here with three people in two camera pairs."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fastreid_ext.data.datasets import CUHK03, DatasetError, build_dataset, cuhk03_files
from fastreid_ext.data.sample import Sample

# For each camera pair and person the numbers (1-10) of the images that exist.
PEOPLE = {(1, 1): [1, 6], (1, 2): [1, 2, 10], (2, 1): [5, 7]}


def picture(pair: int, person: int, number: int) -> np.ndarray:
    image = np.zeros((6, 4, 3), dtype=np.uint8)
    image[2, 1] = (pair, person, number)
    return image


def write_mat(path: Path) -> None:
    """MATLAB stores arrays transposed and cells as references to data sets."""
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as mat:
        store = mat.create_group("#refs#")

        def reference(array: np.ndarray) -> h5py.Reference:
            dtype = h5py.ref_dtype if array.dtype == object else array.dtype
            return store.create_dataset(str(len(store)), data=array, dtype=dtype).ref

        for kind in ("labeled", "detected"):
            pairs = []
            for pair, people in ((1, (1, 2)), (2, (1,))):
                cells = np.empty((10, len(people)), dtype=object)
                for column, person in enumerate(people):
                    for number in range(1, 11):
                        exists = number in PEOPLE[pair, person]
                        image = picture(pair, person, number).T if exists else np.zeros(2, dtype=np.uint64)
                        cells[number - 1, column] = reference(image)
                pairs.append(reference(cells))
            mat.create_dataset(kind, data=np.array([pairs], dtype=object), dtype=h5py.ref_dtype)
        tests = [reference(np.array(test, dtype=float).T) for test in ([(1, 2)], [(1, 1), (2, 1)])]
        mat.create_dataset("testsets", data=np.array([tests], dtype=object), dtype=h5py.ref_dtype)


def write_new_protocol(folder: Path, kind: str) -> None:
    names = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_1_02.png", "1_002_2_10.png"]
    config = {
        "filelist": np.array([[name] for name in names], dtype=object),
        "labels": np.array([[1], [1], [2], [2], [2]]),
        "train_idx": np.array([[1], [2]]),
        "query_idx": np.array([[5]]),
        "gallery_idx": np.array([[3], [4]]),
    }
    savemat(folder / f"cuhk03_new_protocol_config_{kind}.mat", config)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mat(tmp_path / "cuhk03/cuhk03_release/cuhk-03.mat")
    write_new_protocol(tmp_path / "cuhk03", "labeled")
    return tmp_path


def test_new_protocol(root: Path) -> None:
    dataset = CUHK03(root, strict=False)
    folder = root / "cuhk03/extracted_labeled"
    assert dataset.train == [
        Sample(str(folder / "1_001_1_01.png"), 1, 0),
        Sample(str(folder / "1_001_2_06.png"), 1, 1),
    ]
    assert dataset.query == [Sample(str(folder / "1_002_2_10.png"), 2, 1)]
    assert dataset.gallery == [
        Sample(str(folder / "1_002_1_01.png"), 2, 0),
        Sample(str(folder / "1_002_1_02.png"), 2, 0),
    ]
    assert dataset.protocol.single_gallery_shot == 0
    for (pair, person), numbers in PEOPLE.items():
        for number in numbers:
            view = 1 if number <= 5 else 2
            with Image.open(folder / f"{pair}_{person:03d}_{view}_{number:02d}.png") as image:
                assert np.array_equal(np.asarray(image), picture(pair, person, number))
    assert len(list(folder.glob("*.png"))) == 7


def test_classic_protocol(root: Path) -> None:
    dataset = build_dataset("CUHK03:protocol=classic,labeled=False,split=1,repeats=5,seed=3,strict=False", str(root))
    folder = root / "cuhk03/extracted_detected"
    assert dataset.train == [
        Sample(str(folder / "1_002_1_01.png"), 2, 0),
        Sample(str(folder / "1_002_1_02.png"), 2, 0),
        Sample(str(folder / "1_002_2_10.png"), 2, 1),
    ]
    assert dataset.query == dataset.gallery
    assert dataset.query == [
        Sample(str(folder / "1_001_1_01.png"), 1, 0),
        Sample(str(folder / "1_001_2_06.png"), 1, 1),
        Sample(str(folder / "2_001_1_05.png"), 3, 0),
        Sample(str(folder / "2_001_2_07.png"), 3, 1),
    ]
    assert dataset.protocol.camera_rule
    assert (dataset.protocol.single_gallery_shot, dataset.protocol.seed) == (5, 3)


def test_later_uses_need_no_matlab_file(root: Path) -> None:
    first = CUHK03(root, strict=False)
    (root / "cuhk03/cuhk03_release/cuhk-03.mat").unlink()
    (root / "cuhk03/cuhk03_new_protocol_config_labeled.mat").unlink()
    again = CUHK03(root, strict=False)
    assert (again.train, again.query, again.gallery) == (first.train, first.query, first.gallery)
    with pytest.raises(DatasetError, match=r"cuhk03_release/cuhk-03.mat"):
        CUHK03(root, labeled=False, strict=False)


def test_interrupted_extraction_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Image.Image.save
    saved = []

    def full_disk(image: Image.Image, path: Path) -> None:
        saved.append(path)
        if len(saved) == 4:
            raise OSError(28, "No space left on device")
        save(image, path)

    before = sorted((root / "cuhk03").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full_disk)
        with pytest.raises(OSError, match="No space left"):
            CUHK03(root, strict=False)
    assert sorted((root / "cuhk03").iterdir()) == before
    assert CUHK03(root, strict=False).train


def test_two_processes_extracting_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "cuhk03"
    publish = cuhk03_files._publish

    def after_another(temporary: Path, target: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(cuhk03_files, "_publish", publish)
            cuhk03_files.classic_index(folder, "labeled")
        publish(temporary, target)

    monkeypatch.setattr(cuhk03_files, "_publish", after_another)
    assert len(cuhk03_files.classic_index(folder, "labeled")["people"]) == 3
    assert not list(folder.glob(".*"))


def test_errors(root: Path) -> None:
    with pytest.raises(DatasetError, match="train_images: 2 instead of 7368"):
        CUHK03(root)
    with pytest.raises(DatasetError, match="train_ids: 2 instead of 1367"):
        CUHK03(root, protocol="classic")
    with pytest.raises(DatasetError, match=r"config_detected.mat"):
        CUHK03(root, labeled=False)
    with pytest.raises(DatasetError, match="classic protocol has the splits 0 to 1, not 2"):
        CUHK03(root, protocol="classic", split=2)
    with pytest.raises(DatasetError, match="new protocol has the splits 0 to 0, not 1"):
        CUHK03(root, split=1)
    with pytest.raises(DatasetError, match="not 'old'"):
        build_dataset("CUHK03:protocol=old", str(root))
