"""MSMT17's lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fastreid_ext.data.datasets import MSMT17, DatasetError, build_dataset
from fastreid_ext.data.sample import Sample

MakeFiles = Callable[[Sequence[str]], None]
WriteLines = Callable[[str, Sequence[str]], Path]

NAMES = {
    "train": ["0000/0000_000_01_0303morning_0015_0.jpg", "0001/0001_000_15_0303noon_0015_0.jpg"],
    "val": ["0001/0001_001_02_0303noon_0015_0.jpg"],
    "query": ["0000/0000_000_03_0303noon_0015_0.jpg"],
    "gallery": ["0000/0000_001_04_0303noon_0015_0.jpg", "0001/0001_000_05_0303noon_0015_0.jpg"],
}


def write(version: str, make_files: MakeFiles, write_lines: WriteLines) -> None:
    train, test = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}[version]
    for split, names in NAMES.items():
        folder = train if split in ("train", "val") else test
        make_files([f"MSMT17_{version}/{folder}/{name}" for name in names])
        write_lines(f"MSMT17_{version}/list_{split}.txt", [f"{name} {int(name[:4])}" for name in names])


@pytest.mark.parametrize(
    ("version", "train", "test"), [("V1", "train", "test"), ("V2", "mask_train_v2", "mask_test_v2")]
)
def test_every_field(
    version: str, train: str, test: str, tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines
) -> None:
    write(version, make_files, write_lines)
    dataset = MSMT17(tmp_path, strict=False)
    folder = tmp_path / f"MSMT17_{version}"
    assert dataset.version == version
    assert dataset.train == [
        Sample(str(folder / train / NAMES["train"][0]), 0, 0),
        Sample(str(folder / train / NAMES["train"][1]), 1, 14),
        Sample(str(folder / train / NAMES["val"][0]), 1, 1),
    ]
    assert dataset.query == [Sample(str(folder / test / NAMES["query"][0]), 2, 2)]
    assert dataset.gallery == [
        Sample(str(folder / test / NAMES["gallery"][0]), 2, 3),
        Sample(str(folder / test / NAMES["gallery"][1]), 3, 4),
    ]


def test_version_and_val_are_options(tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    for version in ("V1", "V2"):
        write(version, make_files, write_lines)
    assert MSMT17(tmp_path, strict=False).version == "V1"
    dataset = build_dataset("MSMT17:version=V2,combine_val=False,strict=False", str(tmp_path))
    assert len(dataset.train) == 2
    assert dataset.published()["train_images"] == 30_248
    assert dataset.query[0].pid == MSMT17(tmp_path, version="V2", strict=False).query[0].pid
    assert MSMT17(tmp_path, strict=False).published()["train_images"] == 32_621
    with pytest.raises(DatasetError, match="versions V1 and V2, not 'V3'"):
        build_dataset("MSMT17:version=V3", str(tmp_path))


def test_half_copied_set(
    tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("V1", make_files, write_lines)
    with pytest.raises(DatasetError, match=r"train_images: 3 instead of 32621.*gallery_ids: 2 instead of 3060"):
        MSMT17(tmp_path)
    monkeypatch.setattr(MSMT17, "published", lambda self: {"train_images": 3, "gallery_images": 2})
    MSMT17(tmp_path)
    (tmp_path / "MSMT17_V1/test" / NAMES["gallery"][1]).unlink()
    with pytest.raises(DatasetError, match=f"1 images not found, the first is .*{NAMES['gallery'][1]}"):
        MSMT17(tmp_path)


@pytest.mark.parametrize("line", ["0000/0000_000_01_a.jpg", "0000/portrait.jpg 3", "0000/0000_000_01_a.jpg x"])
def test_malformed_line_is_quoted(line: str, tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    write("V1", make_files, write_lines)
    write_lines("MSMT17_V1/list_query.txt", [line])
    with pytest.raises(DatasetError, match=f"list_query.txt: cannot read '{line}'"):
        MSMT17(tmp_path)


@pytest.mark.parametrize("combine_val", [True, False])
def test_nobody_of_val_is_somebody_of_test(
    combine_val: bool, tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines
) -> None:
    write("V1", make_files, write_lines)
    write_lines("MSMT17_V1/list_val.txt", [f"{NAMES['val'][0]} 5"])
    dataset = MSMT17(tmp_path, combine_val=combine_val, strict=False)
    assert [sample.pid for sample in dataset.query + dataset.gallery] == [6, 6, 7]
