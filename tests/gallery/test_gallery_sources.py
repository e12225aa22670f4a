"""Where the images of a gallery come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gallery_data import write_images

from fastreid_ext.data.datasets import DatasetError
from fastreid_ext.gallery import GalleryError, Item, items_of


def test_folders_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(write_images(tmp_path / "a", 3) + write_images(tmp_path / "a" / "b", 2, seed=1))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    assert sorted(items_of(["a"]), key=lambda item: item.path) == [Item(path) for path in paths]
    assert list(items_of([os.path.relpath(paths[0])])) == [Item(paths[0])]


def test_market_names(tmp_path: Path) -> None:
    write_images(tmp_path, 4)
    (tmp_path / "0001_c1s1_00000000.png").rename(tmp_path / "-1_c2s1_0.png")
    found = list(items_of([str(tmp_path)], layout="market"))
    # Junk is left out, cameras count from 0.
    assert [(item.pid, item.camid) for item in found] == [(2, 1), (3, 2), (4, 0)]
    (tmp_path / "holiday.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"holiday\.png: the name does not begin with an identity"):
        list(items_of([str(tmp_path)], layout="market"))


def test_tables(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("\ufeffpath,pid,camid,split\na.jpg,7,entrance,query\n/b/c.jpg,,-1,\n", encoding="utf-8")
    assert list(items_of([str(table)])) == [Item(str(tmp_path / "a.jpg"), 7, "entrance"), Item("/b/c.jpg", None, -1)]
    table.write_text("path\na.jpg\n")
    assert list(items_of([str(table)])) == [Item(str(tmp_path / "a.jpg"))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"file,pid\na.jpg,1\n", "no column path; its first line names the columns: path,pid,camid"),
        (b"", "no column path"),
        (b"path,pid\n,1\n", "line 2: path is empty"),
        (b"path\n\xff\xfe\n", "cannot be read: .*UTF-8"),
    ],
)
def test_bad_tables(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(text)
    with pytest.raises(GalleryError, match=message):
        list(items_of([str(tmp_path / "list.csv")]))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="no folder, image or table"):
        items_of([str(tmp_path / "missing")])
    with pytest.raises(GalleryError, match=r"no images in .* and below"):
        items_of([str(tmp_path)])
    with pytest.raises(GalleryError, match="unknown layout 'imagenet': choose one of none, market"):
        items_of([str(tmp_path)], layout="imagenet")
