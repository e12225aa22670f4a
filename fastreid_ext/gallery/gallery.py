"""Images that are searched by images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.gallery.adding import Added, Model, add_images, comparable
from fastreid_ext.gallery.errors import AddingStopped, GalleryError
from fastreid_ext.gallery.indexing import Searcher, check_index, steadily, update_index, write_index
from fastreid_ext.gallery.item import Hit, Item
from fastreid_ext.gallery.model_check import check_model
from fastreid_ext.gallery.store import Store
from fastreid_ext.index.build import check_request
from fastreid_ext.inference import ModelCard
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger

__all__ = ["Gallery"]

_UNREADABLE = "unreadable.txt"
_VECTORS = ("float32", "float16")


class Gallery:
    """Embeddings of one model in a folder, with paths, identities and cameras, and an index of them.

    A process that is killed at any moment leaves the gallery as it was, or with all that it was about to commit. One
    process adds at a time, any number search. Threads take a `Gallery` each.

    Args:
        folder: of the gallery.

    Attributes:
        folder: of the gallery.
        card: of the model whose embeddings they are.

    Raises:
        GalleryError: there is no gallery, or a file of it is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._store = Store(self.folder)
        self.card = ModelCard.from_json(self._store.fact("card"), source=str(self.folder))
        self._searcher: Searcher | None = None

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        card: ModelCard,
        *,
        kind: str = "auto",
        recall: float = 0.95,
        vectors: str = "float32",
        source: str = "",
        options: Sequence[str] = (),
        seed: int = 0,
    ) -> Gallery:
        """An empty one, for embeddings of a model.

        Args:
            folder: for it.
            card: of the model.
            kind: of index: see `build_index`.
            recall: that an approximate index is to reach.
            vectors: what embeddings are kept in: "float32", or "float16", which takes half of the disk.
            source: file or folder of the model, for those who add and search.
            options: `[KEY, value, ...]` that it was opened with.
            seed: of the index.

        Raises:
            GalleryError: the folder has a gallery, or the type is unknown.
            ImportError, ValueError: there cannot be such an index: see `build_index`.
        """
        check_request(kind, recall, card.dim)
        if vectors not in _VECTORS:
            raise GalleryError(f"unknown type of vectors '{vectors}': choose one of {', '.join(_VECTORS)}")
        wanted = {"kind": kind, "recall": recall, "seed": seed}
        facts = {"card": card.to_json(), "source": source, "options": list(options), "wanted": wanted, "index": None}
        Store.create(Path(folder), dim=card.dim, dtype=vectors, **facts).close()
        return cls(folder)

    @classmethod
    def build(cls, folder: str | os.PathLike[str], model: Model, items: Iterable[Item], **options: Any) -> Gallery:
        """`create` and `add`.

        Args:
            folder: for the gallery.
            model: a `Predictor`.
            items: images.
            **options: of `create`.

        Raises:
            GalleryError: the folder has a gallery, there are no images, or none can be read.
            AddingStopped: after a KeyboardInterrupt; what was embedded is in, and `add` goes on.
        """
        waiting = iter(items)
        first = next(waiting, None)
        if first is None:
            raise GalleryError("there are no images to build a gallery of")
        gallery = cls.create(folder, model.card, **options)
        try:
            added = gallery.add(model, chain([first], waiting))
        except BaseException as error:
            if gallery._removed_if_empty() and isinstance(error, AddingStopped):
                raise KeyboardInterrupt from error
            raise
        if gallery._removed_if_empty():
            raise GalleryError(
                f"none of {len(added.unreadable):,} images can be read; the first: {added.unreadable[0]}"
            )
        return gallery

    def __len__(self) -> int:
        return len(self._store)

    def add(self, model: Model, items: Iterable[Item], *, update: bool = False) -> Added:
        """Embeds images, and has the index know them; what cannot be read is told and listed in unreadable.txt.

        Args:
            model: a `Predictor`, of the gallery's model.
            items: images; those whose paths are in the gallery are passed over.
            update: embed those anew whose file or labels have changed.

        Raises:
            GalleryError: it is another model, another process adds, or a file of the gallery is damaged.
            AddingStopped: after a KeyboardInterrupt; what was embedded is in.
        """
        self._check(model.card)
        with self._store.writing():
            added = add_images(self._store, model, items, update=update)
            self._tell(added)
            try:
                update_index(self._store, self.card.metric)
            except KeyboardInterrupt as error:
                raise AddingStopped from error
        return added

    def search(self, embeddings: Tensor, k: int = 10, *, card: ModelCard) -> list[list[Hit]]:
        """The images nearest to each embedding, nearest first; fewer than k where there are no more.

        Args:
            embeddings: of the queries, as the model gives them.
            k: images.
            card: of the model whose embeddings they are.

        Shape:
            embeddings: (Q, D).

        Raises:
            GalleryError: it is another model, the gallery is empty, or a file of it is damaged.
            ValueError: embeddings are not finite or do not fit, or k is below 1.
        """
        self._check(card)
        queries = comparable(self.card, embeddings)
        while True:
            searcher = self._current()
            hits = self._hits(searcher, queries, k)
            # Whoever rebuilds numbers the rows anew.
            if self._store.state().vectors == searcher.state.vectors:
                return hits

    def search_images(self, model: Model, images: Any, k: int = 10) -> list[list[Hit]]:
        """`search` for images of any kind that a `Predictor` takes.

        Args:
            model: a `Predictor`, of the gallery's model.
            images: the queries, or a folder of them.
            k: images to find for each.

        Raises:
            UnreadableImage: a query cannot be read.
            GalleryError, ValueError: see `search`.
        """
        self._check(model.card)
        rows = []
        for embedded in model.stream(images):
            if embedded.embedding is None:
                raise embedded.error or GalleryError(f"no embedding of {embedded.item}")
            rows.append(embedded.embedding)
        return self.search(torch.stack(rows) if rows else torch.empty(0, self.card.dim), k, card=model.card)

    def rebuild(self, *, kind: str | None = None, recall: float | None = None) -> None:
        """Makes the index again from the vectors, without those of images that have changed; needs no model.

        Args:
            kind: of index, from now on; None for the one that was asked for.
            recall: that it is to reach, from now on.

        Raises:
            GalleryError: another process adds, or the vectors' file is cut short.
            ImportError, ValueError: there cannot be such an index: see `build_index`; the old one stays.
        """
        with self._store.writing():
            asked = {"kind": kind, "recall": recall}
            wanted = self._store.fact("wanted") | {name: value for name, value in asked.items() if value is not None}
            check_request(wanted["kind"], wanted["recall"], self.card.dim)
            self._store.compact()
            write_index(self._store, self.card.metric, wanted)
            self._store.set_fact("wanted", wanted)

    def check(self) -> None:
        """Reads the files whole.

        Raises:
            GalleryError: one is damaged.
        """
        steadily(self._store, lambda: self._store.check(of_unit_length=self.card.metric == "cosine"))
        steadily(self._store, lambda: check_index(self._store))

    def facts(self) -> dict[str, Any]:
        """What there is to know: counts, index, model."""
        index = self._store.fact("index")
        return {
            "folder": str(self.folder.absolute()),
            "images": len(self),
            "vectors": self._store.rows,
            "dim": self._store.dim,
            "dtype": self._store.dtype,
            "metric": self.card.metric,
            "fingerprint": self.card.fingerprint,
            "model": self._store.fact("source"),
            "options": self._store.fact("options"),
            "name": self.card.name,
            "index": index["kind"] if index else "flat",
            "indexed": index["rows"] if index else self._store.rows,
            "recall": index["recall"] if index else None,
            "bytes_per_vector": index["bytes_per_vector"] if index else 0,
        }

    def close(self) -> None:
        """Frees the files."""
        self._searcher = None
        self._store.close()

    def _check(self, card: ModelCard) -> None:
        check_model(self.folder, self.card, card)

    def _current(self) -> Searcher:
        if self._searcher is None or self._searcher.state != self._store.state():
            if not len(self):
                raise GalleryError(f"the gallery {self.folder.absolute()} is empty: add images to it")
            self._searcher = steadily(self._store, lambda: Searcher(self._store, self.card.metric))
        return self._searcher

    def _hits(self, searcher: Searcher, queries: Tensor, k: int) -> list[list[Hit]]:
        """Vectors of images that have changed are passed over; more are looked for in their place."""
        images, wanted = len(self), min(k, max(1, searcher.rows))
        while True:
            distances, rows = searcher.search(queries, wanted)
            known = self._store.at(rows[rows >= 0].tolist())
            hits = [
                [Hit(known[row], distance) for row, distance in zip(*pair, strict=True) if row in known][:k]
                for pair in zip(rows.tolist(), distances.tolist(), strict=True)
            ]
            # Where there are no more, asking for more finds none.
            exhausted = (rows < 0).any(1).tolist()
            if wanted >= searcher.rows or all(
                end or len(each) >= min(k, images) for each, end in zip(hits, exhausted, strict=True)
            ):
                return hits
            wanted = min(2 * wanted, searcher.rows)

    def _tell(self, added: Added) -> None:
        log, bad = get_logger(__name__), added.unreadable
        log.info(f"{self.folder}: {added.new:,} images added, {added.updated:,} updated, {added.known:,} passed over")
        if not bad:
            return
        with atomic_write(self.folder / _UNREADABLE) as file:
            file.writelines(f"{error}\n" for error in bad)
        more = f", and {len(bad) - 1:,} more" if len(bad) > 1 else ""
        log.warning(
            f"{len(bad):,} images cannot be read and are not in the gallery: {bad[0]}{more}; "
            f"{self.folder / _UNREADABLE} lists them"
        )

    def _removed_if_empty(self) -> bool:
        """Deletes the files, but for the list of what cannot be read, unless another process is about to add."""
        try:
            with self._store.writing():
                if len(self):
                    return False
                self.close()
                self._store.remove()
                return True
        except GalleryError:
            return False
