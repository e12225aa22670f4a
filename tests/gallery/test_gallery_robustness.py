"""What can go wrong with a gallery: others' files, other processes, odd names, damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gallery_data import Thumbnails, as_items, write_images

from fastreid_ext.gallery import AddingStopped, Gallery, GalleryError, Item, items_of
from fastreid_ext.gallery.indexing import Searcher
from fastreid_ext.gallery.store import Store
from fastreid_ext.inference import Embedded


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    return write_images(tmp_path / "images", 30)


def test_what_else_lies_in_the_folder_stays(images: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "images"
    others = [folder / name for name in ("index-001.jpg", "vectors-art.png", ".mine.tmp", "index-2.faiss.txt")]
    for path in others:
        path.write_bytes(b"mine")
    (folder / "index-2024").mkdir()
    gallery = Gallery.build(folder, Thumbnails(), as_items(images[:20]), kind="ivf")
    gallery.add(Thumbnails(), as_items(images[20:]))
    gallery.rebuild(kind="flat")
    assert all(path.read_bytes() == b"mine" for path in others) and (folder / "index-2024").is_dir()
    assert not list(folder.glob("index-*.faiss"))


def test_one_image_has_one_name(images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), items_of([str(tmp_path / "images")]))
    gallery.add(Thumbnails(), items_of([str(tmp_path / "g" / ".." / "images")]))
    assert len(gallery) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recall": 95}, "recall is a share"),
        ({"recall": 0}, "recall is a share"),
        ({"kind": "ivfpq"}, "47 dimensions cannot be cut"),
        ({"kind": "tree"}, "unknown index"),
    ],
)
def test_no_such_index_is_found_out_first(
    options: dict[str, Any], message: str, images: list[str], tmp_path: Path
) -> None:
    model = Thumbnails()
    model.card = model.card.changed(dim=47)
    with pytest.raises(ValueError, match=message):
        Gallery.build(tmp_path / "g", model, as_items(images), **options)
    assert not model.embedded
    gallery = Gallery.build(tmp_path / "h", Thumbnails(), as_items(images), kind="flat")
    gallery.card = model.card
    with pytest.raises(ValueError, match=message):
        gallery.rebuild(**options)
    # What cannot be is not remembered.
    gallery = Gallery(tmp_path / "h")
    gallery.add(Thumbnails(), as_items(images))
    assert gallery.facts()["index"] == "flat"


def test_reading_while_others_write(images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Thumbnails()
    gallery = Gallery.build(tmp_path / "g", model, as_items(images), kind="ivf")
    reads = Store.vectors
    rebuilt = []

    def late(self: Store, state: Any = None) -> Any:
        if not rebuilt:
            rebuilt.append(1)
            other = Gallery(tmp_path / "g")
            Path(images[0]).touch()
            other.add(model, as_items(images[:1]), update=True)
            other.rebuild(kind="hnsw")
        return reads(self, state)

    monkeypatch.setattr(Store, "vectors", late)
    (hits,) = gallery.search_images(model, images[3:4], 2)
    assert hits[0].item.path == images[3] and rebuilt


@pytest.mark.parametrize("values", [0, np.nan])
def test_spoilt_vectors_are_found(values: float, images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), as_items(images))
    gallery.check()
    spoilt = np.memmap(tmp_path / "g" / "vectors-0.bin", np.float32, mode="r+", shape=(30, 48))
    spoilt[7] = values
    spoilt.flush()
    with pytest.raises(GalleryError, match="is damaged, in row 7"):
        gallery.check()


def test_a_spoilt_database_is_found(images: list[str], tmp_path: Path) -> None:
    Gallery.build(tmp_path / "g", Thumbnails(), as_items(images)).close()
    path = tmp_path / "g" / "gallery.sqlite"
    content = bytearray(path.read_bytes())
    content[-4000:] = b"\xff" * 4000
    path.write_bytes(content)
    with pytest.raises(GalleryError):
        Gallery(tmp_path / "g").check()


def test_another_way_of_comparing_is_refused(images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), as_items(images))
    with pytest.raises(GalleryError, match=r"TEST\.METRIC cosine .* say euclidean"):
        gallery.search_images(Thumbnails(metric="euclidean"), images[:1])


def test_more_than_there_are(images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), as_items(images))
    (hits,) = gallery.search_images(Thumbnails(), images[:1], 10**12)
    assert len(hits) == 30


def test_a_failed_build_leaves_the_way_free(images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Thumbnails):
        def stream(self, items: object, /) -> Iterator[Embedded]:
            raise KeyboardInterrupt
            yield

    with pytest.raises(KeyboardInterrupt) as stopped:
        Gallery.build(tmp_path / "g", Stopped(), as_items(images))
    assert not isinstance(stopped.value, AddingStopped)
    assert len(Gallery.build(tmp_path / "g", Thumbnails(), as_items(images))) == 30

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    # All images are in; only the index is not.
    monkeypatch.setattr("fastreid_ext.gallery.gallery.update_index", interrupted)
    with pytest.raises(AddingStopped):
        Gallery.build(tmp_path / "h", Thumbnails(), as_items(images))
    assert len(Gallery(tmp_path / "h")) == 30


def test_labels_of_numpy_and_odd_names(images: list[str], tmp_path: Path) -> None:
    items = [Item(images[0], np.int64(3), np.int64(1)), Item(images[1], "anna"), Item("a\0b")]  # type: ignore[arg-type]
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), items)
    found = {hit.item.path: hit.item for hit in gallery.search_images(Thumbnails(), images[:1], 5)[0]}
    assert found[images[0]] == Item(images[0], 3, 1) and found[images[1]].pid == "anna" and len(found) == 2


def test_an_embedding_of_zeros_is_told(images: list[str], tmp_path: Path) -> None:
    class Dead(Thumbnails):
        def stream(self, items: object, /) -> Iterator[Embedded]:
            for number, item in enumerate(items):  # type: ignore[arg-type]
                yield Embedded(item, torch.full((48,), float(number)))

    gallery = Gallery.build(tmp_path / "g", Dead(), as_items(images))
    assert len(gallery) == 29
    assert "its embedding is zero" in (tmp_path / "g" / "unreadable.txt").read_text()
    gallery.check()


def test_unreadable_files_of_any_name_are_listed(images: list[str], tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(odd)).write_bytes(b"no image")
    Gallery.build(tmp_path / "g", Thumbnails(), as_items([images[0], os.fsdecode(odd)]))
    assert r"\udcff.png: not an image" in (tmp_path / "g" / "unreadable.txt").read_text()


def test_rows_numbered_anew_under_a_search(images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Thumbnails()
    gallery = Gallery.build(tmp_path / "g", model, as_items(images))
    other = Gallery(tmp_path / "g")
    search, searches = Searcher.search, []

    def late(self: Searcher, queries: torch.Tensor, k: int) -> Any:
        found = search(self, queries, k)
        if not searches:
            # Image 0 moves to the end, and all others up by one.
            Path(images[0]).touch()
            other.add(model, as_items(images[:1]), update=True)
            other.rebuild()
        searches.append(k)
        return found

    monkeypatch.setattr(Searcher, "search", late)
    (hits,) = gallery.search_images(model, images[3:4], 1)
    assert hits[0].item.path == images[3] and len(searches) > 1


def test_an_error_of_the_list_of_images_loses_none_of_the_others(images: list[str], tmp_path: Path) -> None:
    def listed() -> Iterator[Item]:
        yield from as_items(images[:19])
        raise OSError("the share is gone")

    with pytest.raises(OSError, match="the share is gone"):
        Gallery.build(tmp_path / "g", Thumbnails(), listed())
    assert len(Gallery(tmp_path / "g")) == 19
