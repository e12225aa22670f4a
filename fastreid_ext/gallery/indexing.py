"""The index of a gallery: a file made of the vectors, and made again from them whenever that is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from fastreid_ext.functional.distances import Metric
from fastreid_ext.gallery.errors import GalleryError
from fastreid_ext.gallery.store import Store
from fastreid_ext.index import ExactIndex, Index, IndexFileError, Kind, build_index, load_index
from fastreid_ext.index.kinds import LEAST_VECTORS, choose_kind
from fastreid_ext.index.refined import RefinedIndex
from fastreid_ext.utils.logger import get_logger

__all__ = ["Searcher", "check_index", "steadily", "update_index", "write_index"]

# New vectors are searched one by one until there are so many.
_MOST_BESIDE = 10_000
_CHUNK = 2**22

_Seen = TypeVar("_Seen")


class Searcher:
    """Finds rows: by the index, and beside it those that came later.

    Attributes:
        state: of the gallery when it was opened.
        rows: of vectors that are searched.

    Args:
        store: of the gallery.
        metric: of the distances.

    Raises:
        GalleryError: a file is cut short.
    """

    def __init__(self, store: Store, metric: Metric) -> None:
        self.state = store.state()
        vectors, record = store.vectors(self.state), self.state.index
        self.rows, covered = len(vectors), 0
        self._parts: list[tuple[int, Index]] = []
        if record:
            covered = record["rows"]
            path = _checked(store, record)
            own = vectors[:covered]
            index = load_index(path, mmap=True, vectors=own, width=record["width"])
            self._parts.append((0, index))
        if covered < self.rows:
            self._parts.append((covered, ExactIndex(vectors[covered:], metric, check=False)))

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """As `Index.search`.

        Shape:
            queries: (Q, D). Result: (Q, k), float32; (Q, k), int64.
        """
        distances, rows = torch.full((len(queries), k), torch.inf), torch.full((len(queries), k), -1)
        for first, index in self._parts:
            near, ids = index.search(queries, k)
            both = torch.cat([distances, near], dim=1), torch.cat([rows, ids + first * (ids >= 0)], dim=1)
            order = both[0].argsort(dim=1, stable=True)[:, :k]
            distances, rows = (each.gather(1, order) for each in both)
        return distances, rows


def steadily(store: Store, look: Callable[[], _Seen]) -> _Seen:
    """What a look at the files gives, repeated as long as another process replaces them meanwhile.

    Raises:
        GalleryError, IndexFileError: a file is missing or damaged.
    """
    while True:
        before = store.state()
        try:
            return look()
        except (GalleryError, IndexFileError):
            if store.state() == before:
                raise


def write_index(store: Store, metric: Metric, wanted: Mapping[str, Any]) -> None:
    """Makes an index from the gallery's vectors; none where each is to be compared.

    Args:
        store: of the gallery.
        metric: of the distances.
        wanted: kind, recall and seed of it.

    Raises:
        GalleryError: the vectors' file is cut short.
    """
    vectors, kind = store.vectors(), _kind(store, wanted)
    if kind == "flat":
        before = store.fact("index")
        store.set_fact("index", None)
        if before:
            (store.folder / before["file"]).unlink(missing_ok=True)
        return
    _commit(store, build_index(vectors, kind=kind, metric=metric, recall=wanted["recall"], seed=wanted["seed"]))


def update_index(store: Store, metric: Metric) -> None:
    """Takes what was added since into the index, where it is too much to be searched one by one.

    Raises:
        GalleryError: a file is cut short.
    """
    wanted = store.fact("wanted")
    vectors, record, kind = store.vectors(), store.fact("index"), _kind(store, wanted)
    covered = record["rows"] if record else 0
    if kind == "flat" or len(vectors) - covered <= (_MOST_BESIDE if record else 0):
        return
    if not record or record["kind"] != kind or len(vectors) > 2 * covered:
        write_index(store, metric, wanted)
        return
    get_logger(__name__).info(f"index {kind}: {len(vectors) - covered:,} vectors join {covered:,}")
    path = _checked(store, record, contents=True)
    index = load_index(path, vectors=vectors[:covered], width=record["width"])
    index.recall = record["recall"]
    index.add(vectors[covered:])
    _commit(store, index)


def check_index(store: Store) -> None:
    """Reads the index's file whole.

    Raises:
        GalleryError: it is not what was written.
    """
    record = store.fact("index")
    if record:
        _checked(store, record, contents=True)


def _kind(store: Store, wanted: Mapping[str, Any]) -> Kind:
    """That is asked for; "flat" as long as there are too few vectors for it, or "auto" finds no faiss."""
    asked = wanted["kind"]
    kind: Kind = choose_kind(store.rows, store.dim) if asked == "auto" else asked
    if asked == "auto" and kind != "flat" and find_spec("faiss") is None:
        get_logger(__name__).warning("without faiss each vector is compared: pip install 'fastreid_ext[cpu]'")
        return "flat"
    return kind if store.rows >= LEAST_VECTORS[kind] else "flat"


def _commit(store: Store, index: Index) -> None:
    before = store.fact("index")
    number = int(before["file"].split("-")[1].split(".")[0]) + 1 if before else 0
    path = store.folder / f"index-{number}.faiss"
    index.save(path)
    store.set_fact(
        "index",
        {
            "kind": index.kind,
            "file": path.name,
            "rows": len(index),
            "bytes": path.stat().st_size,
            "checksum": _checksum(path),
            "recall": index.recall,
            "width": index.width if isinstance(index, RefinedIndex) else 1,
            "bytes_per_vector": index.bytes_per_vector,
        },
    )
    if before:
        (store.folder / before["file"]).unlink(missing_ok=True)


def _checked(store: Store, record: Any, *, contents: bool = False) -> Path:
    path = store.folder / str(record["file"])
    size = path.stat().st_size if path.is_file() else None
    mend = f"make it again from the vectors: gallery.py rebuild {store.folder}"
    if size is None:
        raise GalleryError(f"the index {path.absolute()} is missing; {mend}")
    if size != record["bytes"]:
        raise GalleryError(f"the index {path.absolute()} has {size:,} bytes instead of {record['bytes']:,}; {mend}")
    if contents and _checksum(path) != record["checksum"]:
        raise GalleryError(f"the index {path.absolute()} is damaged; {mend}")
    return path


def _checksum(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
