"""Images that become part of a gallery, some thousand at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.functional.beta_norm import beta_normalize
from fastreid_ext.functional.distances import normalize
from fastreid_ext.gallery.errors import AddingStopped
from fastreid_ext.gallery.item import Item
from fastreid_ext.gallery.states import FileState
from fastreid_ext.gallery.store import Store
from fastreid_ext.inference import Embedded, ModelCard
from fastreid_ext.utils.dist import is_main_process

__all__ = ["Added", "Model", "add_images", "comparable"]

_COMMIT = 4096


class Model(Protocol):
    """What a gallery needs of a `Predictor`."""

    @property
    def card(self) -> ModelCard: ...

    def stream(self, items: Any, /) -> Iterator[Embedded]: ...


@dataclass
class Added:
    """What became of the images.

    Attributes:
        new: images that are in now.
        updated: images that were in and had changed.
        known: images that were in, and were passed over.
        unreadable: why the others could not be read.
    """

    new: int = 0
    updated: int = 0
    known: int = 0
    unreadable: list[UnreadableImage] = field(default_factory=list)


def comparable(card: ModelCard, embeddings: Tensor) -> Tensor:
    """Embeddings as the model's `TEST` options have them compared; for "cosine" of unit length.

    Shape:
        embeddings: (N, D). Result: (N, D), float32.
    """
    values = embeddings.float() if card.beta is None else beta_normalize(embeddings.float(), card.beta)
    return normalize(values) if card.metric == "cosine" else values


def add_images(store: Store, model: Model, items: Iterable[Item], *, update: bool = False) -> Added:
    """Embeds images and commits them, some thousand at a time; what cannot be read is passed over and told.

    Args:
        store: that they go to; the caller keeps other writers out.
        model: that embeds.
        items: images; those whose paths are in are passed over.
        update: embed those anew whose file or labels have changed.

    Raises:
        AddingStopped: after a KeyboardInterrupt; what was embedded is in.
    """
    adding = _Adding(store, model, update)
    try:
        for embedded in tqdm(
            model.stream(adding.paths(items)),
            desc="gallery",
            unit="image",
            leave=False,
            # None is quiet where nobody looks.
            disable=None if is_main_process() else True,
        ):
            adding.take(embedded)
        adding.commit()
    except KeyboardInterrupt as error:
        adding.commit()
        raise AddingStopped from error
    except Exception:
        # Of hours of work, nothing is lost to the last image.
        adding.commit()
        raise
    return adding.added


class _Adding:
    """Images on their way: to the model, then to the disk."""

    def __init__(self, store: Store, model: Model, update: bool) -> None:
        self.added = Added()
        self._store, self._card, self._update = store, model.card, update
        self._underway: deque[tuple[Item, FileState, bool]] = deque()
        self._ready: list[tuple[Item, FileState, Tensor]] = []
        # Paths underway or ready, which the store does not know yet.
        self._paths: set[str] = set()
        self._counts = [0, 0]

    def paths(self, items: Iterable[Item]) -> Iterator[str]:
        """Those of the images to embed, each once."""
        for item in items:
            state = FileState.of(item.path)
            known = self._store.known(item.path)
            if item.path in self._paths or (known and not (self._update and known != (item, state))):
                self.added.known += 1
                continue
            self._paths.add(item.path)
            self._underway.append((item, state, known is not None))
            yield item.path

    def take(self, embedded: Embedded) -> None:
        """The model's answer to the path that was given first."""
        item, state, known = self._underway.popleft()
        embedding = embedded.embedding
        if embedding is None or (self._card.metric == "cosine" and not embedding.any()):
            self._paths.discard(item.path)
            reason = "its embedding is zero, which has no direction"
            self.added.unreadable.append(embedded.error or UnreadableImage(item.path, reason))
            return
        self._ready.append((item, state, embedding))
        self._counts[known] += 1
        if len(self._ready) >= _COMMIT:
            self.commit()

    def commit(self) -> None:
        """Writes what is ready to the disk."""
        if self._ready:
            embeddings = torch.stack([embedding for *_, embedding in self._ready])
            items = [(item, state) for item, state, _ in self._ready]
            self._store.append(comparable(self._card, embeddings).numpy(), items)
        self._paths.difference_update(item.path for item, *_ in self._ready)
        self.added.new += self._counts[False]
        self.added.updated += self._counts[True]
        self._ready, self._counts = [], [0, 0]
