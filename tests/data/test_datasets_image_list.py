"""A user's list of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fastreid_ext.data.datasets import DatasetError, ImageList, build_dataset
from fastreid_ext.data.sample import Sample

MakeFiles = Callable[[Sequence[str]], None]
WriteLines = Callable[[str, Sequence[str]], Path]

FILES = ["mine/a.jpg", "mine/b.jpg", "mine/c.jpg"]
LISTS = {
    "mine/list.csv": [
        "split,path,note,pid,camid",
        'train,a.jpg,"tall, old",bob,north',
        "query,b.jpg,,anna,north",
        "",
        "gallery,c.jpg,,anna,east",
    ],
    "mine/list.tsv": [
        "path\tpid\tcamid\tsplit",
        "a.jpg\tbob\tnorth\ttrain",
        "b.jpg\tanna\tnorth\tquery",
        "c.jpg\tanna\teast\tgallery",
    ],
    "mine/list.jsonl": [
        '{"path": "a.jpg", "pid": "bob", "camid": "north", "split": "train"}',
        '{"path": "b.jpg", "pid": "anna", "camid": "north", "split": "query"}',
        "",
        '{"path": "c.jpg", "pid": "anna", "camid": "east", "split": "gallery"}',
    ],
}


@pytest.mark.parametrize("name", LISTS)
def test_texts_are_numbered_in_sorted_order(
    name: str, tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines
) -> None:
    make_files(FILES)
    write_lines(name, LISTS[name])
    dataset = build_dataset(f"ImageList:{name}", str(tmp_path))
    assert dataset.train == [Sample(str(tmp_path / "mine/a.jpg"), 1, 1)]
    assert dataset.query == [Sample(str(tmp_path / "mine/b.jpg"), 0, 1)]
    assert dataset.gallery == [Sample(str(tmp_path / "mine/c.jpg"), 0, 0)]
    assert dataset.protocol.camera_rule
    assert dataset.counts()["gallery_ids"] == 1


def test_whole_numbers_are_kept(tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    make_files(FILES)
    rows = ['{"path": "a.jpg", "pid": 12, "camid": 4, "split": "train"}']
    rows += ['{"path": "b.jpg", "pid": 3, "camid": 0, "split": "query"}']
    rows += ['{"path": "c.jpg", "pid": -1, "camid": 2, "split": "gallery"}']
    write_lines("mine/list.jsonl", rows)
    dataset = ImageList(tmp_path, "mine/list.jsonl")
    assert [(s.pid, s.camid) for s in dataset.train + dataset.query + dataset.gallery] == [(12, 4), (3, 0), (-1, 2)]


def test_junk_stays_junk_among_texts(tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    make_files(FILES)
    write_lines("mine/list.csv", ["path,pid,split", "a.jpg,bob,train", "b.jpg,anna,query", "c.jpg,-1,gallery"])
    dataset = ImageList(tmp_path, "mine/list.csv")
    assert [sample.pid for sample in dataset.train + dataset.query + dataset.gallery] == [1, 0, -1]


@pytest.mark.parametrize("content", [b"path,pid,split\na.jpg,m\xfcller,train\n", b"\x00" * 30, b"\x89PNG"])
def test_a_file_that_is_no_utf8_table_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"list\.csv"):
        ImageList(tmp_path, "list.csv")


def test_without_cameras(tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    make_files(FILES)
    write_lines("mine/list.csv", ["path,pid,split", "a.jpg,1,train", "b.jpg,2,query", "c.jpg,2,gallery"])
    dataset = ImageList(tmp_path, "mine/list.csv")
    assert {sample.camid for sample in dataset.train + dataset.query + dataset.gallery} == {0}
    assert not dataset.protocol.camera_rule


def test_camera_rule_can_be_switched_off(tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    make_files(FILES)
    write_lines("mine/list.csv", LISTS["mine/list.csv"])
    assert not build_dataset("ImageList:mine/list.csv,camera_rule=False", str(tmp_path)).protocol.camera_rule


@pytest.mark.parametrize("cameras", [False, True])
def test_query_and_gallery_of_the_same_images(
    cameras: bool, tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines
) -> None:
    make_files(FILES)
    images = [f"{name}.jpg,{pid}" + f",{pid}" * cameras for name, pid in (("a", 1), ("b", 1), ("c", 2))]
    # In another order, too: query i is gallery image i.
    rows = [f"{image},query" for image in images] + [f"{image},gallery" for image in reversed(images)]
    write_lines("mine/list.csv", ["path,pid," + "camid," * cameras + "split", *rows])
    off = build_dataset("ImageList:mine/list.csv,camera_rule=False", str(tmp_path))
    assert off.protocol.query_is_gallery and off.gallery == off.query and len(off.query) == 3
    dataset = ImageList(tmp_path, "mine/list.csv")
    assert (dataset.protocol.query_is_gallery, dataset.protocol.camera_rule) == (not cameras, cameras)
    # One image less is another list.
    write_lines("mine/list.csv", ["path,pid," + "camid," * cameras + "split", *rows[:-1]])
    assert not ImageList(tmp_path, "mine/list.csv", camera_rule=False).protocol.query_is_gallery


def test_training_only(tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    make_files(FILES)
    path = write_lines("mine/list.csv", ["path,pid,split", f"{tmp_path}/mine/a.jpg,1,train"])
    dataset = ImageList(Path("elsewhere"), str(path))
    assert dataset.train == [Sample(str(tmp_path / "mine/a.jpg"), 1, 0)]
    assert dataset.query == dataset.gallery == []
    assert not dataset.protocol.query_is_gallery


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("l.csv", ["path,split", "a.jpg,train"], "line 2: no column pid; there are path, split"),
        ("l.csv", ["path;pid;split", "a.jpg;1;train"], "line 2: no column path, pid, split"),
        ("l.csv", ["path,pid,split", "a.jpg,1,train", "b.jpg,1,val"], "line 3: unknown split 'val'"),
        ("l.csv", ["path,pid,split", "a.jpg,1,train", "", "b.jpg,,train"], "line 4: pid is empty"),
        ("l.csv", ["path,pid,split", "a.jpg,1"], "line 2: has another number of fields"),
        ("l.csv", ["path,pid,split", "a.jpg,1,train,x"], "line 2: has another number of fields"),
        ("l.csv", ["path,pid,camid,split", "a.jpg,1,2,train", "b.jpg,1,,train"], "line 3: no camid, though"),
        ("l.csv", ["path,pid,split", "a.jpg,1,query"], "queries need a gallery"),
        ("l.csv", ["path,pid,split"], "holds no images"),
        ("l.csv", [], "holds no images"),
        ("l.txt", ["path,pid,split"], "ends in .csv, .tsv or .jsonl"),
        ("l.jsonl", ['{"path": "a.jpg", "pid": 1, "split": "train"}', "{"], "line 2: is not JSON"),
        ("l.jsonl", ["[1]"], "line 1: is not a JSON object"),
        ("l.jsonl", ['{"path": "a.jpg", "pid": null, "split": "train"}'], "line 1: pid is empty"),
        ("l.csv", ["path,pid,split", "gone.jpg,1,train"], "1 images not found, the first is .*gone.jpg"),
    ],
)
def test_errors_name_the_line(
    name: str, lines: list[str], message: str, tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines
) -> None:
    make_files(["a.jpg", "b.jpg"])
    write_lines(name, lines)
    with pytest.raises(DatasetError, match=message):
        ImageList(tmp_path, name)
