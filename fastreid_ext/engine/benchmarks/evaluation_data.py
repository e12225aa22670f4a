"""Features to rank, drawn at the sizes of known test sets, and the matrix product that no exact ranking can beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid_ext.functional.precision import full_precision

__all__ = ["MARKET", "MSMT17", "SMALL", "SOP", "VERI_WILD", "DrawnSet", "SetSize", "bare_product", "draw", "size_of"]

_DRAWN_AT_ONCE = 4096
_TILE = 1024, 2048
# Spread of an image around its identity, over that of identities: from easy to hopeless at 2048 dimensions.
_EASIEST, _HARDEST = 1.5, 8.0


@dataclass(frozen=True)
class SetSize:
    """Size of a test set.

    Attributes:
        name: for tables.
        key: for names of figures.
        queries: number of query images.
        gallery: number of gallery images.
        identities: number of identities, all of them among queries and gallery if they are enough.
        cameras: number of cameras.
        dim: length of a feature.
    """

    name: str
    key: str
    queries: int
    gallery: int
    identities: int
    cameras: int
    dim: int = 2048

    @property
    def images(self) -> int:
        """Queries and gallery."""
        return self.queries + self.gallery

    def __str__(self) -> str:
        return f"{self.name}: {self.queries:,} x {self.gallery:,} x {self.dim:,}"


SMALL = SetSize("small", "small", 500, 2_000, 100, 6)
MARKET = SetSize("Market-1501", "market", 3_368, 15_913, 751, 6)
MSMT17 = SetSize("MSMT17", "msmt17", 11_659, 82_161, 3_060, 15)
# Every image is query and gallery.
SOP = SetSize("SOP", "sop", 0, 60_502, 11_316, 1, 512)
VERI_WILD = SetSize("VERI-Wild large", "veriwild", 10_000, 128_517, 10_000, 174)


def size_of(images: int, dim: int = 2048) -> SetSize:
    """A set of so many images, one fifth of them queries, some twenty of each identity."""
    queries = images // 5
    return SetSize(f"N = {images:,}", str(images), queries, images - queries, max(2, images // 20), 6, dim)


@dataclass(frozen=True, eq=False)
class DrawnSet:
    """Features of a set that nobody photographed.

    Attributes:
        features: of all images, queries first.
        pids: identities.
        camids: cameras.
        queries: number of queries.

    Shape:
        features: (N, D). pids, camids: (N,).
    """

    features: Tensor
    pids: Tensor
    camids: Tensor
    queries: int

    @property
    def query(self) -> Tensor:
        """Features of the queries: a view."""
        return self.features[: self.queries]

    @property
    def gallery(self) -> Tensor:
        """Features of the gallery: a view."""
        return self.features[self.queries :]

    @property
    def ids(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Identities of queries and gallery, cameras of queries and gallery, as `rank_metrics` takes them."""
        split = self.queries
        return self.pids[:split], self.pids[split:], self.camids[:split], self.camids[split:]


def draw(size: SetSize, device: str = "cpu", seed: int = 0) -> DrawnSet:
    """Gaussian clusters, one for each identity, around Gaussian centres; each image has a spread of its own.

    Spreads grow with the fourth root of the number of dimensions, which keeps the sets equally hard. Beside the result
    only the centres and a block of images are ever in memory.
    """
    generator = torch.Generator(device).manual_seed(seed)

    def shuffled(number: int) -> Tensor:
        return torch.randperm(number, generator=generator, device=device) % size.identities

    pids = torch.cat([shuffled(size.queries), shuffled(size.gallery)])
    camids = torch.randint(size.cameras, (size.images,), generator=generator, device=device)
    centres = torch.randn(size.identities, size.dim, generator=generator, device=device)
    spreads = torch.empty(size.images, 1, device=device).uniform_(_EASIEST, _HARDEST, generator=generator)
    spreads *= (size.dim / 2048) ** 0.25
    features = torch.empty(size.images, size.dim, device=device)
    for start in range(0, size.images, _DRAWN_AT_ONCE):
        rows = slice(start, start + _DRAWN_AT_ONCE)
        features[rows].normal_(generator=generator).mul_(spreads[rows]).add_(centres[pids[rows]])
    return DrawnSet(features, pids, camids, size.queries)


def bare_product(a: Tensor, b: Tensor) -> None:
    """All products of rows of `a` with rows of `b`, a tile at a time into one buffer, with all threads of torch.

    Shape:
        a: (N, D). b: (M, D).
    """
    buffer = a.new_empty(_TILE)
    with full_precision(a.device.type):
        for rows in torch.split(a, _TILE[0]):
            for columns in torch.split(b, _TILE[1]):
                torch.mm(rows, columns.T, out=buffer[: len(rows), : len(columns)])
