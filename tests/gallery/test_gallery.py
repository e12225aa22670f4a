"""Galleries: built, extended, searched, mended."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gallery_data import Thumbnails, as_items, write_images

from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.functional.distances import cosine_distance
from fastreid_ext.gallery import AddingStopped, Gallery, GalleryError, Item, adding, indexing, items_of
from fastreid_ext.gallery.store import Store
from fastreid_ext.index import Index, build_index, load_index, tuning
from fastreid_ext.inference import Embedded


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    return write_images(tmp_path / "images", 30)


def embeddings(model: Thumbnails, paths: list[str]) -> torch.Tensor:
    return torch.stack([found.embedding for found in model.stream(paths) if found.embedding is not None])


@pytest.mark.parametrize("vectors", ["float32", "float16"])
def test_finds_what_the_distances_say(images: list[str], vectors: str, tmp_path: Path) -> None:
    model, queries = Thumbnails(), write_images(tmp_path / "queries", 6, seed=1)
    items = items_of([str(tmp_path / "images")], layout="market")
    gallery = Gallery.build(tmp_path / "g", model, items, vectors=vectors)
    assert len(gallery) == 30
    distances = cosine_distance(embeddings(model, queries), embeddings(model, sorted(images)))
    for query, hits in enumerate(Gallery(tmp_path / "g").search_images(model, queries, 4)):
        nearest = distances[query].sort(stable=True)
        assert [hit.item.path for hit in hits] == [sorted(images)[i] for i in nearest.indices[:4]]
        assert [hit.distance for hit in hits] == pytest.approx(nearest.values[:4].tolist(), abs=1e-3)
        assert {hit.item.pid for hit in hits} == {query % 5 + 1} and hits[0].item.camid in (0, 1, 2)
    size = 30 * 48 * (2 if vectors == "float16" else 4)
    assert (tmp_path / "g" / "vectors-0.bin").stat().st_size == size


def test_embeddings_are_compared_as_the_model_says(images: list[str], tmp_path: Path) -> None:
    model = Thumbnails(metric="euclidean", beta=0.01)
    gallery = Gallery.build(tmp_path / "g", model, as_items(images))
    query = embeddings(model, images[3:4])
    values = [each / each.norm() + 0.01 * each for each in (*embeddings(model, images), query[0])]
    expected = [float((each - values[-1]).square().sum()) for each in values[:-1]]
    (hits,) = gallery.search(query, 30, card=model.card)
    assert hits[0].item.path == images[3]
    assert [hit.distance for hit in hits] == pytest.approx(sorted(expected), abs=1e-4)


def test_adding_passes_over_what_is_in(images: list[str], tmp_path: Path) -> None:
    model = Thumbnails()
    gallery = Gallery.build(tmp_path / "g", model, as_items(images[:10]))
    model.embedded.clear()
    added = gallery.add(model, as_items([*images[5:15], images[14]]))
    assert (added.new, added.known, added.updated) == (5, 6, 0) and model.embedded == images[10:15]
    assert len(gallery) == 15
    (hits,) = gallery.search_images(model, images[12:13], 100)
    assert len(hits) == 15 and hits[0].item.path == images[12]


def test_update_embeds_changed_images_anew(images: list[str], tmp_path: Path) -> None:
    model = Thumbnails()
    gallery = Gallery.build(tmp_path / "g", model, as_items(images))
    os.replace(images[1], images[0])  # noqa: PTH105
    assert gallery.add(model, as_items(images[:1] + images[2:])).updated == 0
    added = gallery.add(model, [Item(images[0]), Item(images[2], pid="anna"), *as_items(images[3:])], update=True)
    assert (added.updated, added.known) == (2, 27) and len(gallery) == 30 and gallery.facts()["vectors"] == 32
    hits = gallery.search_images(model, [images[0], images[2]], 30)
    assert [len(each) for each in hits] == [30, 30] and hits[1][0].item.pid == "anna"
    # The old place of the moved image is as near, and nothing else.
    assert {hit.item.path for hit in hits[0][:2]} == {images[0], images[1]}
    gallery.rebuild()
    assert gallery.facts()["vectors"] == 30 and sorted(os.listdir(tmp_path / "g"))[-1] == "vectors-1.bin"  # noqa: PTH208
    again = gallery.search_images(model, [images[0], images[2]], 30)
    assert [{hit.item for hit in each} for each in again] == [{hit.item for hit in each} for each in hits]


def test_another_models_embeddings_are_refused(images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), as_items(images))
    other = Thumbnails("other", flip=True)
    for act in (
        lambda: gallery.search(torch.zeros(1, 48), card=other.card),
        lambda: gallery.search_images(other, images[:1]),
        lambda: gallery.add(other, as_items(images)),
    ):
        with pytest.raises(GalleryError, match=r"model thumbnails, and this one is other.*flip False and True"):
            act()
    assert not other.embedded


def test_unreadable_images_are_told_and_listed(
    images: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in images[4:6]:
        Path(path).write_bytes(Path(path).read_bytes()[:40])
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), as_items([*images, str(tmp_path / "missing.png")]))
    assert len(gallery) == 28 and "3 images cannot be read" in caplog.text
    lines = (tmp_path / "g" / "unreadable.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [images[4], images[5], str(tmp_path / "missing.png")]
    with pytest.raises(UnreadableImage, match=r"missing\.png"):
        gallery.search_images(Thumbnails(), [images[0], str(tmp_path / "missing.png")])


def test_nothing_to_build_of_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="there are no images"):
        Gallery.build(tmp_path / "g", Thumbnails(), [])
    with pytest.raises(GalleryError, match=r"none of 1 images can be read; the first: .*no such file"):
        Gallery.build(tmp_path / "g", Thumbnails(), [Item("/missing.png")])
    assert not list((tmp_path / "g").glob("gallery*"))
    with pytest.raises(GalleryError, match="no gallery in"):
        Gallery(tmp_path / "g")


def test_an_empty_gallery_says_so(images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", Thumbnails().card)
    with pytest.raises(GalleryError, match="is empty: add images"):
        gallery.search_images(Thumbnails(), images[:1])
    with pytest.raises(GalleryError, match="has a gallery: add to it"):
        Gallery.build(tmp_path / "g", Thumbnails(), as_items(images))


def test_an_interrupt_keeps_what_is_done(images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "_COMMIT", 8)

    class Stopped(Thumbnails):
        def stream(self, items: object, /) -> Iterator[Embedded]:
            for number, found in enumerate(super().stream(items)):  # type: ignore[arg-type]
                if number == 19:
                    raise KeyboardInterrupt
                yield found

    with pytest.raises(AddingStopped):
        Gallery.build(tmp_path / "g", Stopped(), as_items(images))
    gallery = Gallery(tmp_path / "g")
    assert len(gallery) == 19
    assert gallery.add(Thumbnails(), as_items(images)).new == 11


def test_names_that_are_no_text(tmp_path: Path) -> None:
    (path,) = write_images(tmp_path / "images", 1)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe odd.png")
    Path(path).rename(odd)
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), [Item(odd)])
    assert gallery.add(Thumbnails(), [Item(odd)]).known == 1
    assert gallery.search_images(Thumbnails(), [odd])[0][0].item.path == odd


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    """400 images, of which 360 are in an index and 40 came later."""
    monkeypatch.setattr(indexing, "_MOST_BESIDE", 50)
    model = Vectors()
    gallery = Gallery.build(tmp_path / "g", model, as_items(map(str, range(360))), kind="ivf", recall=0.99)
    gallery.add(model, as_items(map(str, range(360, 400))))
    return gallery


class Vectors(Thumbnails):
    """Embeds the name of a number."""

    def stream(self, items: object, /) -> Iterator[Embedded]:
        for item in items:  # type: ignore[attr-defined]
            generator = torch.Generator().manual_seed(int(Path(item).name) % 20)
            own = torch.Generator().manual_seed(int(Path(item).name))
            yield Embedded(item, torch.randn(48, generator=generator) + 0.3 * torch.randn(48, generator=own))


def found(gallery: Gallery, names: range) -> list[str]:
    hits = gallery.search_images(Vectors(), list(map(str, names)), 1)
    return [hit.item.path for (hit,) in hits]


def test_late_ones_are_found_beside_the_index(indexed: Gallery) -> None:
    assert (indexed.facts()["indexed"], indexed.facts()["index"]) == (360, "ivf")
    assert found(indexed, range(350, 400)) == list(map(str, range(350, 400)))
    exact = indexed.search_images(Vectors(), ["7", "399"], 30)
    indexed.rebuild(kind="flat")
    assert [len(each) for each in exact] == [30, 30]
    again = indexed.search_images(Vectors(), ["7", "399"], 30)
    for mixed, alone in zip(exact, again, strict=True):
        assert len({hit.item for hit in mixed} & {hit.item for hit in alone}) > 18
        assert [hit.distance for hit in mixed] == sorted(hit.distance for hit in mixed)


def test_many_late_ones_join_the_index(indexed: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    first = indexed.facts()["recall"]
    indexed.add(Vectors(), as_items(map(str, range(400, 420))))
    assert indexed.facts()["indexed"] == 420 and indexed.facts()["recall"] == first
    assert found(indexed, range(395, 420)) == list(map(str, range(395, 420)))
    assert [path.name for path in indexed.folder.glob("index-*")] == ["index-1.faiss"]
    made: list[Any] = []

    def build(*vectors: Any, **options: Any) -> Index:
        made.append(options)
        return build_index(*vectors, **options)

    monkeypatch.setattr(indexing, "build_index", build)
    indexed.add(Vectors(), as_items(map(str, range(420, 900))))
    assert indexed.facts()["indexed"] == 900 and indexed.facts()["recall"] >= 0.99
    # Lists are for a number of vectors: those for 360 do not serve twice as many.
    assert len(made) == 1


def test_a_damaged_index_is_not_added_to(indexed: Gallery) -> None:
    (path,) = indexed.folder.glob("index-*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"123456789")
    with pytest.raises(GalleryError, match=r"index-0\.faiss is damaged"):
        indexed.add(Vectors(), as_items(map(str, range(400, 420))))
    assert len(indexed) == 420


def test_each_image_is_found_once_at_most(indexed: Gallery) -> None:
    (hits,) = indexed.search_images(Vectors(), ["7"], 1000)
    assert len({hit.item for hit in hits}) == len(hits) == 400
    assert max(hit.distance for hit in hits) < 3


def test_candidates_of_codes_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_WIDTHS", (32,))
    Gallery.build(tmp_path / "g", Vectors(), as_items(map(str, range(400))), kind="ivfpq")
    widths = []

    def load(*path: Any, **options: Any) -> Index:
        widths.append(options["width"])
        return load_index(*path, **options)

    monkeypatch.setattr(indexing, "load_index", load)
    found(Gallery(tmp_path / "g"), range(2))
    assert widths == [32]


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq", "flat"])
def test_rebuild_in_another_kind(indexed: Gallery, kind: str) -> None:
    indexed.rebuild(kind=kind, recall=0.9)
    assert indexed.facts()["index"] == kind
    right = sum(a == b for a, b in zip(found(indexed, range(60)), map(str, range(60)), strict=True))
    assert right > 50
    indexed.add(Vectors(), as_items(map(str, range(400, 455))))
    assert sum(a == b for a, b in zip(found(indexed, range(400, 455)), map(str, range(400, 455)), strict=True)) > 45


def test_too_few_for_an_index_are_compared_one_by_one(images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), as_items(images), kind="ivfpq")
    assert gallery.facts()["index"] == "flat" and len(gallery.search_images(Thumbnails(), images[:1], 7)[0]) == 7


def test_a_damaged_index_is_told_and_made_again(indexed: Gallery) -> None:
    (path,) = indexed.folder.glob("index-*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    for act in (Gallery(indexed.folder).check, lambda: found(Gallery(indexed.folder), range(2))):
        with pytest.raises(GalleryError, match=r"index-0\.faiss has .* bytes instead of .*gallery\.py rebuild"):
            act()
    path.write_bytes(whole[:-9] + b"123456789")
    with pytest.raises(GalleryError, match=r"index-0\.faiss is damaged; .*gallery\.py rebuild"):
        Gallery(indexed.folder).check()
    path.unlink()
    with pytest.raises(GalleryError, match=r"is missing; .*gallery\.py rebuild"):
        found(Gallery(indexed.folder), range(2))
    indexed.rebuild()
    assert found(indexed, range(390, 400)) == list(map(str, range(390, 400)))
    indexed.check()


def test_vectors_cut_short_are_told(indexed: Gallery) -> None:
    path = indexed.folder / "vectors-0.bin"
    path.write_bytes(path.read_bytes()[: 48 * 4 * 100 + 3])
    with pytest.raises(GalleryError, match=r"vectors-0\.bin is cut short: it has 100 of 400 vectors.*build"):
        found(Gallery(indexed.folder), range(2))


@pytest.mark.parametrize("moment", ["facts", "index"])
def test_a_writer_that_dies_leaves_what_was_committed(
    indexed: Gallery, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        pass

    def die(store: Store, name: str, value: object) -> None:
        # The vectors, or the whole new index, are on the disk, and nobody has been told of them.
        if name == {"facts": "rows", "index": "index"}[moment]:
            raise Death
        tell(store, name, value)

    tell = Store.set_fact
    with monkeypatch.context() as patch:
        patch.setattr(Store, "set_fact", die)
        with pytest.raises(Death):
            indexed.add(Vectors(), as_items(map(str, range(400, 500))))
    indexed.close()
    assert (indexed.folder / "index-1.faiss").exists() == (moment == "index")
    again = Gallery(indexed.folder)
    again.check()
    left = 400 if moment == "facts" else 500
    assert len(again) == left and found(again, range(380, left)) == list(map(str, range(380, left)))
    added = again.add(Vectors(), as_items(map(str, range(400, 500))))
    assert added.new == 500 - left and len(again) == 500 and again.facts()["indexed"] == 500
    assert (again.folder / "vectors-0.bin").stat().st_size == 500 * 48 * 4
    assert found(again, range(380, 500)) == list(map(str, range(380, 500)))


def test_what_dead_writers_left_is_cleared(indexed: Gallery) -> None:
    for name in ("index-7.faiss", "vectors-3.bin", ".index-7.faiss.abc.tmp"):
        (indexed.folder / name).write_bytes(b"left")
    indexed.add(Vectors(), [])
    assert sorted(path.name for path in indexed.folder.iterdir() if path.name[0] != ".") == [
        *("gallery.sqlite", "index-0.faiss", "vectors-0.bin")
    ]


def test_one_writer_at_a_time(images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), as_items(images[:10]))
    go, embedding = threading.Event(), threading.Event()

    class Slow(Thumbnails):
        def stream(self, items: object, /) -> Iterator[Embedded]:
            embedding.set()
            go.wait(20)
            yield from super().stream(items)  # type: ignore[arg-type]

    other = threading.Thread(target=lambda: Gallery(tmp_path / "g").add(Slow(), as_items(images)))
    other.start()
    try:
        assert embedding.wait(20)
        with pytest.raises(GalleryError, match="another process writes to"):
            gallery.add(Thumbnails(), as_items(images))
        assert len(gallery.search_images(Thumbnails(), images[:1], 30)[0]) == 10
    finally:
        go.set()
        other.join()
    assert len(gallery.search_images(Thumbnails(), images[:1], 30)[0]) == 30


def test_readers_see_what_others_rebuilt(images: list[str], tmp_path: Path) -> None:
    gallery = Gallery.build(tmp_path / "g", Thumbnails(), as_items(images))
    before = gallery.search_images(Thumbnails(), images[20:21], 30)
    writer = Gallery(tmp_path / "g")
    Path(images[0]).touch()
    os.utime(images[0], ns=(1, 1))
    assert writer.add(Thumbnails(), as_items(images), update=True).updated == 1
    writer.rebuild()
    after = gallery.search_images(Thumbnails(), images[20:21], 30)
    assert [hit.item for hit in after[0]] == [hit.item for hit in before[0]]


def test_half_precision_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    class Huge(Vectors):
        def stream(self, items: object, /) -> Iterator[Embedded]:
            yield from (Embedded(each.item, torch.full((48,), 1e5)) for each in super().stream(items))

    with pytest.raises(GalleryError, match="not finite in float16"):
        Gallery.build(tmp_path / "g", Huge(metric="euclidean"), as_items(["1"]), vectors="float16")
    with pytest.raises(GalleryError, match="unknown type of vectors 'int8'"):
        Gallery.create(tmp_path / "h", Huge().card, vectors="int8")
