"""Embeddings, similarities and verdicts of images, from the file of a model."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import torch
from torch import Tensor
from tqdm import tqdm

from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.image_store.tensor import send
from fastreid_ext.inference.card import ModelCard
from fastreid_ext.inference.embedder import Embedder
from fastreid_ext.inference.images import ImageLike, UnreadableImages, as_list, each, image_bytes
from fastreid_ext.inference.open import open_embedder
from fastreid_ext.inference.saved_config import saved_test_option
from fastreid_ext.inference.similarity import as_embeddings, similarity
from fastreid_ext.inference.threshold import Threshold, Verdict
from fastreid_ext.utils.dist import is_main_process
from fastreid_ext.utils.threads import default_threads, in_order, single_threaded_pool

__all__ = ["Embedded", "Images", "Predictor"]

Images: TypeAlias = "ImageLike | Iterable[ImageLike]"
"""One image, a batch, a folder of images, or several images of any kinds."""

_Read = tuple[ImageLike, Tensor | UnreadableImage]

# Less is done before a bar is read.
_BATCHES_WITHOUT_BAR = 10


@dataclass(frozen=True, eq=False)
class Embedded:
    """What became of an image.

    Attributes:
        item: the image, as it was given.
        embedding: None if it could not be read.
        error: why; None if it could.

    Shape:
        embedding: (D,), float32, on the CPU.
    """

    item: ImageLike
    embedding: Tensor | None = None
    error: UnreadableImage | None = None


class Predictor:
    """A trained model in use: `Predictor("logs/mine").embed("photo.jpg")`.

    Files are decoded, resized, cropped and normalised by the evaluation's own code, and flip and the other options of
    `TEST` are those of the config: embeddings are the evaluation's but for rounding. All methods may be called from
    several threads, such as those of a web server: images are read side by side, the model takes a batch at a time.

    Args:
        source: the folder of a run, a checkpoint or its URL, an exported .onnx, .pt2 or .safetensors; or an embedder.
        device: "auto" is the GPU when there is one, else the CPU.
        batch_size: images that the model takes at a time; None for `TEST.IMS_PER_BATCH` of the config.
        options: `[KEY, value, KEY, value, ...]`, which win over the config.
        config: of a checkpoint that has none, such as FastReID's: a file or a short name.
        threads: that read images; 0 for all cores of this process.

    Attributes:
        embedder: what computes.
        batch_size: images that it takes at a time.

    Raises:
        CheckpointError, ConfigError, CardError, ImportError: see `open_embedder`.
        ValueError: a batch of no image.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Embedder,
        *,
        device: str | torch.device = "auto",
        batch_size: int | None = None,
        options: Sequence[Any] = (),
        config: str | os.PathLike[str] = "",
        threads: int = 0,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
        if not isinstance(source, Embedder):
            source = open_embedder(source, device=device, options=options, config=config)
        self.embedder = source
        self.batch_size: int = batch_size or saved_test_option(self.card, "IMS_PER_BATCH")
        self._threads = threads or default_threads()
        self._readers: ThreadPoolExecutor | None = None
        self._turn, self._opening = threading.Lock(), threading.Lock()

    @property
    def card(self) -> ModelCard:
        """What is to be known of the model."""
        return self.embedder.card

    def embed(self, images: Images) -> Tensor:
        """Embeddings of images, in their order; also `predictor(images)`.

        Arrays and tensors are RGB: turn what OpenCV reads, `image[..., ::-1]`.

        Shape:
            images: arrays (H, W, 3), (H, W) or (N, H, W, 3), uint8 or floats from 0 to 1; tensors (3, H, W) or
                (N, 3, H, W).
            Result: (N, D), float32, on the CPU; one image gives (1, D), an empty list (0, D).

        Raises:
            UnreadableImages: some cannot be read; it lists them. `stream` goes on without them.
            ValueError: a folder without images.
            TypeError: what is no image at all.
        """
        items = as_list(images)
        parts, errors, done = [torch.empty(0, self.card.dim)], [], 0
        long = len(items) > _BATCHES_WITHOUT_BAR * self.batch_size
        quiet = None if long and is_main_process() else True
        with tqdm(total=len(items), desc="features", unit="image", leave=False, disable=quiet) as bar:
            for batch, embeddings in self._batches(items):
                parts.append(embeddings)
                errors += [
                    _placed(item, read, place)
                    for place, (item, read) in enumerate(batch, start=done)
                    if not isinstance(read, Tensor)
                ]
                done += len(batch)
                bar.update(len(batch))
        if errors:
            raise UnreadableImages(errors)
        return torch.cat(parts)

    __call__ = embed

    def stream(self, items: Images) -> Iterator[Embedded]:
        """What becomes of each image, in their order: read and embedded in batches while the iterable goes on.

        Memory does not grow with the number of images. Some batches are read ahead, in the calling thread if the
        iterable does it itself, which comes to more than is asked for.

        Args:
            items: images of any kinds; what cannot be read comes with its error.

        Raises:
            ValueError, TypeError: see `embed`.
        """
        for batch, embeddings in self._batches(each(items)):
            rows = iter(embeddings)
            for item, read in batch:
                # A row of its own: it may be kept long after the batch.
                yield Embedded(item, next(rows).clone()) if isinstance(read, Tensor) else Embedded(item, error=read)

    def similarity(self, a: Images | Tensor, b: Images | Tensor) -> Tensor:
        """How alike images are, by the metric of the model: the larger, the more.

        `TEST.METRIC cosine` gives the cosine of the angle between embeddings, `euclidean` their negative squared
        distance; `TEST.BETA_NORM` comes first, as in the evaluation.

        Shape:
            a, b: images, or embeddings (N, D) or (D,), which are floats.
            Result: (Na, Nb).

        Raises:
            UnreadableImages, ValueError, TypeError: see `embed`; also embeddings of another width, or not finite.
        """
        return similarity(self._embeddings(a), self._embeddings(b), metric=self.card.metric, beta=self.card.beta)

    def verify(self, a: Images | Tensor, b: Images | Tensor, threshold: Threshold) -> Verdict:
        """Whether two images are of one identity.

        Args:
            a: an image, or its embedding.
            b: another.
            threshold: from `calibrate`, for this model.

        Raises:
            ThresholdError: the threshold is of another model.
            UnreadableImages, ValueError, TypeError: see `similarity`; also several images in place of one.
        """
        threshold.check(self.card)
        similarities = self.similarity(a, b)
        if similarities.numel() != 1:
            raise ValueError(f"a verdict is on one pair; got {' and '.join(map(str, similarities.shape))} images")
        value = float(similarities)
        return Verdict(value >= threshold.value, value, threshold)

    def _embeddings(self, images: Images | Tensor) -> Tensor:
        given = as_embeddings(images, self.card.dim)
        return self.embed(images) if given is None else given

    def _batches(self, items: Iterable[ImageLike]) -> Iterator[tuple[list[_Read], Tensor]]:
        """Images with what was read of each, and the embeddings of those that could be read."""
        alone = isinstance(items, Sequence) and len(items) < 2
        reads = in_order(self._read, iter(items), pool=None if alone else self._pool, ahead=2 * self.batch_size)
        with closing(reads):
            while batch := list(islice(reads, self.batch_size)):
                yield batch, self._embed([read for _, read in batch if isinstance(read, Tensor)])

    def _read(self, item: ImageLike) -> _Read:
        try:
            return item, image_bytes(item, self.card.size)
        except UnreadableImage as error:
            # A new one: the traceback of this holds what was decoded so far.
            return item, UnreadableImage(error.path, error.reason)

    def _embed(self, images: Sequence[Tensor]) -> Tensor:
        if not images:
            return torch.empty(0, self.card.dim)
        device = self.embedder.device
        batch = send(images, self.card.size, device) if device.type == "cuda" else torch.stack(list(images))
        with self._turn:
            return self.embedder.embed(batch)

    @property
    def _pool(self) -> ThreadPoolExecutor:
        # Two threads that come first at the same time share one.
        with self._opening:
            self._readers = self._readers or single_threaded_pool(self._threads, name="read")
        return self._readers


def _placed(item: ImageLike, error: UnreadableImage, place: int) -> UnreadableImage:
    """What is no file is known by its place."""
    is_file = isinstance(item, (str, os.PathLike))
    return error if is_file else UnreadableImage(f"image {place}", str(error))
