"""Whether an exported file does what the model does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from fastreid_ext.export.errors import ExportError
from fastreid_ext.inference.embedder import Embedder

__all__ = ["TOLERANCE", "check", "differences", "largest_difference", "random_images"]

TOLERANCE = 1e-4
"""Of the values of embeddings of length 1."""

# One image, several, and a number that nothing divides.
_BATCHES = (1, 2, 7)
_BATCH = 32


def random_images(size: tuple[int, int]) -> Tensor:
    """Images of noise, the same each time: they reach values that photographs do not.

    Shape:
        Result: (N, 3, H, W), uint8, with `size` as (H, W).
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (sum(_BATCHES), 3, *size), dtype=torch.uint8, generator=generator)


def differences(file: Embedder, model: Embedder, images: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest differences of any value of embeddings, where those of the model have length 1, by kind of images.

    Args:
        file: as it was written.
        model: it should do the same as.
        images: by kind, such as "random".

    Shape:
        images: (N, 3, H, W), uint8, with `card.size` as (H, W).
    """
    return {
        # Python's max passes over what is not a number.
        kind: float(torch.tensor([_difference(file, model, batch) for batch in _batches(some)]).max())
        for kind, some in images.items()
    }


def largest_difference(found: Tensor, expected: Tensor) -> float:
    """Of any value, where what is expected has length 1: neither direction nor length may differ.

    Shape:
        found, expected: (N, D).
    """
    lengths = expected.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return float(((found - expected) / lengths).abs().max())


def check(file: Embedder, model: Embedder, images: Mapping[str, Tensor]) -> dict[str, float]:
    """`differences`, all of which must be within `TOLERANCE`.

    Raises:
        ExportError: one is not; it tells which, and by how much.
    """
    found = differences(file, model, images)
    # What is not a number is not within anything.
    if beyond := {kind: value for kind, value in found.items() if not value <= TOLERANCE}:
        listed = " and ".join(f"by {value:.1e} on {kind} images" for kind, value in beyond.items())
        raise ExportError(
            f"embeddings of the exported model differ from PyTorch's {listed}, more than {TOLERANCE:g}: it is not kept"
        )
    return found


def _batches(images: Tensor) -> Iterator[Tensor]:
    """Small ones of each size first, which may go different ways through the graph."""
    start = 0
    for size in _BATCHES:
        if start < len(images):
            yield images[start : start + size]
        start += size
    yield from (images[i : i + _BATCH] for i in range(start, len(images), _BATCH))


def _difference(file: Embedder, model: Embedder, images: Tensor) -> float:
    ours, theirs = (embedder.embed(images) for embedder in (file, model))
    if ours.shape != theirs.shape:
        raise ExportError(f"the exported model gives embeddings {tuple(ours.shape)} in place of {tuple(theirs.shape)}")
    return largest_difference(ours, theirs)
