"""From samples to normalised batches on the model's device."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.image_store import ImageStore, Rows
from fastreid_ext.data.prefetch import Prefetch
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import BatchPart, BatchStream
from fastreid_ext.data.transforms import Pipeline, on_device
from fastreid_ext.utils.logger import get_logger
from fastreid_ext.utils.threads import in_order, single_threaded_pool

__all__ = ["Batch", "LoadingError", "TestLoader", "TrainLoader"]

Batch = dict[str, Any]
"""`images` float32 (B, 3, H, W), `normalized` True, `targets` (B,), `camids` (B,), `indices` (B,), `img_paths` list of
B, `unreadable` list of errors."""

_SUBSTITUTES = 100
_NAMED = 20


class _Fetched(NamedTuple):
    part: BatchPart
    indices: list[int]
    images: Rows | Tensor
    unreadable: list[UnreadableImage]


class LoadingError(RuntimeError):
    """A batch could not be made; `paths` are its images, `__cause__` is the error itself."""

    def __init__(self, error: Exception, which: str, paths: list[str]) -> None:
        self.paths = paths
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        super().__init__(
            f"the batch {which}could not be made: {type(error).__name__}: {error}; its images: "
            f"{', '.join(paths[:_NAMED])}{more}"
        )


class TrainLoader:
    """Endless training batches of this process, made by a thread while the model works.

    The augmentation of an image follows from seed, step and its place in the whole batch alone: neither the number of
    processes nor a resumed run changes it, but for `RandomPatch`, whose patches come from the same process's images. An
    image that cannot be read is replaced by another one of its identity, or of the next identity when none of its own
    can be read, and listed in the batch's `unreadable`.

    Attributes:
        unreadable: why, by path, for the images that could not be read so far.

    Args:
        samples: with `pid` numbered from 0.
        store: their images.
        pipeline: augments and normalises.
        stream: which samples each batch takes.
        depth: finished batches that wait, at most.
        threads: that augment, on a CPU.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        store: ImageStore,
        pipeline: Pipeline,
        stream: BatchStream,
        *,
        depth: int = 2,
        threads: int = 1,
    ) -> None:
        self.samples, self.store, self.pipeline, self.stream, self.depth = samples, store, pipeline, stream, depth
        # What a GPU does is put in order by its stream, which belongs to one thread.
        self.threads = threads if store.device.type == "cpu" else 1
        self.unreadable: dict[str, str] = {}
        self._labels = _Labels(samples)
        self._of_pid: dict[int, list[int]] = {}
        for index, sample in enumerate(samples):
            self._of_pid.setdefault(sample.pid, []).append(index)
        # A store that is filled already knows all of them.
        self._report(list(store.unreadable.values()))

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches from the stream's place on.

        Raises:
            UnreadableImage: nothing could be read in place of an image.
            LoadingError: anything else went wrong.
        """
        pool = single_threaded_pool(self.threads, name="augment") if self.threads > 1 else None
        batches = Prefetch(lambda: self._batches(pool), device=self.store.device, depth=self.depth)
        try:
            for batch in batches:
                self._report(batch["unreadable"])
                yield batch
        except UnreadableImage:
            self._report(list(self.store.unreadable.values()))
            raise
        finally:
            batches.close()
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)

    def _batches(self, pool: ThreadPoolExecutor | None) -> Iterator[Batch]:
        return in_order(self._finish, map(self._fetch, self.stream), pool=pool, ahead=self.threads)

    def _fetch(self, part: BatchPart) -> _Fetched:
        with _naming(self.samples, part.indices, f"of iteration {part.iteration} "):
            indices = self._readable(part.indices)
            unreadable = [self.store.unreadable[index] for index in part.indices if index in self.store.unreadable]
            return _Fetched(part, indices, self.store.fetch(indices), unreadable)

    def _finish(self, fetched: _Fetched) -> Batch:
        part, indices, images, unreadable = fetched
        with _naming(self.samples, indices, f"of iteration {part.iteration} "):
            drawn = self.pipeline.draw(
                self.stream.generator(part.iteration), self.stream.sampler.batch_size, self.store.size
            )
            share = slice(part.start, part.start + len(indices))
            augmented = self.pipeline(images, [transform.part(share) for transform in drawn])
            return {"images": augmented, **self._labels.of(indices, augmented), "unreadable": unreadable}

    def _readable(self, wanted: Sequence[int]) -> list[int]:
        """The images, or in place of those that cannot be read the first of its candidates that can."""
        indices = list(wanted)
        candidates = {index: self._candidates(index) for index in wanted}
        while True:
            self.store.prepare(indices)
            failed = [place for place, index in enumerate(indices) if index in self.store.unreadable]
            if not failed:
                return indices
            substitutes: dict[int, int] = {}
            for place in failed:
                index = wanted[place]
                if index not in substitutes:
                    found = next((c for c in candidates[index] if c not in self.store.unreadable), None)
                    if found is None:
                        raise UnreadableImage(self.samples[index].path, self.store.unreadable[index].reason)
                    substitutes[index] = found
                indices[place] = substitutes[index]

    def _candidates(self, index: int) -> Iterator[int]:
        """The other images of the identity, then its neighbours."""
        same = self._of_pid[self.samples[index].pid]
        start = same.index(index)
        yield from same[start + 1 :] + same[:start]
        yield from ((index + offset) % len(self.samples) for offset in range(1, _SUBSTITUTES))

    def _report(self, errors: Iterable[UnreadableImage]) -> None:
        for error in errors:
            if error.path not in self.unreadable:
                self.unreadable[error.path] = error.reason
                if len(self.unreadable) <= _NAMED:
                    get_logger(__name__).warning(f"training goes on without an image: {error}")
                elif len(self.unreadable) == _NAMED + 1:
                    get_logger(__name__).warning("and without more images, which the end of the training lists")


class TestLoader:
    """Batches of the samples in their order, for feature extraction; unreadable images are left out and listed.

    A batch's `indices` are the places of its images in `samples`.

    Args:
        samples: this process's share.
        store: their images.
        pipeline: normalises.
        batch_size: images a batch.
        depth: finished batches that wait, at most.
    """

    __test__ = False

    def __init__(
        self, samples: Sequence[Sample], store: ImageStore, pipeline: Pipeline, *, batch_size: int = 64, depth: int = 2
    ) -> None:
        self.samples, self.store, self.pipeline, self.depth = samples, store, pipeline, depth
        self.batch_size = batch_size
        self._labels = _Labels(samples)

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def __iter__(self) -> Generator[Batch, None, None]:
        """All batches.

        Raises:
            LoadingError: anything but an unreadable image went wrong.
        """
        batches = Prefetch(self._batches, device=self.store.device, depth=self.depth)
        try:
            yield from batches
        finally:
            batches.close()

    def _batches(self) -> Iterator[Batch]:
        for start in range(0, len(self.samples), self.batch_size):
            wanted = range(start, min(start + self.batch_size, len(self.samples)))
            with _naming(self.samples, wanted):
                batch = self._load(wanted)
            yield batch

    def _load(self, wanted: Sequence[int]) -> Batch:
        self.store.prepare(wanted)
        indices = [index for index in wanted if index not in self.store.unreadable]
        images = self.pipeline(self.store.fetch(indices))
        unreadable = [self.store.unreadable[index] for index in wanted if index in self.store.unreadable]
        return {"images": images, **self._labels.of(indices, images), "unreadable": unreadable}


class _Labels:
    """What a batch tells about its images."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.paths = [sample.path for sample in samples]
        self.pids = np.array([sample.pid for sample in samples], dtype=np.int64)
        self.camids = np.array([sample.camid for sample in samples], dtype=np.int64)

    def of(self, indices: Sequence[int], images: Any) -> Batch:
        places: NDArray[np.int64] = np.asarray(indices, dtype=np.int64)
        columns = on_device(np.stack((self.pids[places], self.camids[places], places)), images)
        return {
            "normalized": True,
            "targets": columns[0],
            "camids": columns[1],
            "indices": columns[2],
            "img_paths": [self.paths[index] for index in indices],
        }


@contextmanager
def _naming(samples: Sequence[Sample], indices: Sequence[int], which: str = "") -> Iterator[None]:
    """Tells which images an error is about."""
    try:
        yield
    except UnreadableImage:
        raise
    except Exception as error:
        raise LoadingError(error, which, [samples[index].path for index in indices]) from error
