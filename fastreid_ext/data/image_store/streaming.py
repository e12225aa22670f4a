"""Images that are decoded again for every batch."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.data.decode import decode, decode_jpeg, read_bytes
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.image_store.base import ImageStore, Rows
from fastreid_ext.data.image_store.tensor import send
from fastreid_ext.utils.logger import get_logger
from fastreid_ext.utils.threads import single_threaded_pool

__all__ = ["StreamingStore"]

_ORIENTATION = 0x0112
_END_OF_JPEG = b"\xff\xd9"


class StreamingStore(ImageStore):
    """Holds no more than the images of the last `prepare`, which decodes them in parallel.

    On a GPU plain JPEGs are decoded by nvJPEG and resized there, by an antialiased bicubic resize in floating point:
    these pixels are not bit for bit those of the other stores.

    Args:
        paths: of the images.
        size: height and width.
        device: where `fetch` puts images.
        threads: that decode.
    """

    kind = "stream"

    def __init__(
        self, paths: Sequence[str], size: tuple[int, int], *, device: torch.device | str = "cpu", threads: int = 1
    ) -> None:
        super().__init__(paths, size, device=device)
        self._pool = single_threaded_pool(threads, name="decode")
        # Of each thread that takes batches: two loaders of the same images must not take each other's.
        self._own = threading.local()
        self._nvjpeg_refused = False

    @property
    def nbytes(self) -> int:
        return sum(image.nbytes for image in self._images.values())

    @property
    def _images(self) -> dict[int, Tensor]:
        images: dict[int, Tensor] = getattr(self._own, "images", {})
        return images

    def prepare(self, indices: Sequence[int]) -> None:
        wanted = dict.fromkeys(indices)
        # A second call for a batch, with substitutes for what was unreadable, decodes these alone.
        before = self._images
        kept = {index: before[index] for index in wanted if index in before}
        missing = [index for index in wanted if index not in kept]
        decoded = self._decode(missing) if self.device.type == "cpu" else self._decode_on_gpu(missing)
        for index in decoded:
            self.unreadable.pop(index, None)
        self._own.images = kept | decoded

    def fetch(self, indices: Sequence[int]) -> Rows | Tensor:
        """As every store.

        Raises:
            UnreadableImage: one of them, of those that were not prepared.
        """
        if any(index not in self._images for index in indices):
            self.prepare(indices)
            for index in indices:
                if index not in self._images:
                    raise UnreadableImage(self.unreadable[index].path, self.unreadable[index].reason)
        images = [self._images[index] for index in indices]
        nothing = torch.empty(0, 3, *self.size, dtype=torch.uint8, device=self.device)
        batch = torch.stack(images) if images else nothing
        return Rows(batch, np.arange(len(batch))) if self.device.type == "cpu" else batch

    def _decode(self, indices: Sequence[int]) -> dict[int, Tensor]:
        """On the CPU; what cannot be read is recorded."""

        def attempt(index: int) -> Tensor | UnreadableImage:
            try:
                return decode(self.paths[index], self.size)
            except UnreadableImage as error:
                return error

        images = {}
        for index, result in zip(indices, self._pool.map(attempt, indices), strict=True):
            if isinstance(result, UnreadableImage):
                # Without the traceback, which holds what was decoded so far.
                self.unreadable[index] = UnreadableImage(result.path, result.reason)
            else:
                images[index] = result
        return images

    def _decode_on_gpu(self, indices: Sequence[int]) -> dict[int, Tensor]:
        files = self._pool.map(_plain_jpeg, [self.paths[index] for index in indices])
        plain = {index: data for index, data in zip(indices, files, strict=True) if data is not None}
        images = self._nvjpeg(plain)
        on_cpu = self._decode([index for index in indices if index not in images])
        sent = send(list(on_cpu.values()), self.size, self.device)
        return images | dict(zip(on_cpu, sent, strict=True))

    def _nvjpeg(self, files: dict[int, Tensor]) -> dict[int, Tensor]:
        """Nothing, if it refuses one of them."""
        if not files or decode_jpeg is None:
            return {}
        if self.device.type == "cuda":
            # It writes on a stream of its own, without waiting for what ours still reads.
            torch.cuda.current_stream(self.device).synchronize()
        try:
            images = decode_jpeg(list(files.values()), mode="RGB", device=self.device)
        except RuntimeError as error:
            if not self._nvjpeg_refused:
                self._nvjpeg_refused = True
                get_logger(__name__).warning(f"nvJPEG refused a batch, which the CPU decodes instead: {error}")
            return {}
        batch = torch.empty(len(images), 3, *self.size, device=self.device)
        for place, image in zip(batch, images, strict=True):
            if tuple(image.shape[1:]) == tuple(self.size):
                place.copy_(image)
            else:
                place.copy_(F.interpolate(image[None].float(), self.size, mode="bicubic", antialias=True)[0])
        return dict(zip(files, batch.round_().clamp_(0, 255).to(torch.uint8), strict=True))


def _plain_jpeg(path: str) -> Tensor | None:
    """The file, if it is a JPEG that nvJPEG decodes as the CPU does: upright, RGB or grey, and not cut short."""
    try:
        data: NDArray[np.uint8] = read_bytes(path)
        if data[-2:].tobytes() != _END_OF_JPEG:
            return None
        with Image.open(io.BytesIO(data.tobytes())) as image:
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            plain = image.format == "JPEG" and image.mode in ("RGB", "L") and upright
    except Exception:
        # Damaged files make Pillow raise almost anything; `decode` will say what is wrong.
        return None
    return torch.from_numpy(data) if plain else None
