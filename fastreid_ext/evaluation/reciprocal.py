"""Images encoded by their k-reciprocal neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from fastreid_ext.evaluation.neighbours import Neighbours
from fastreid_ext.evaluation.rerank_kernels import pair_products
from fastreid_ext.functional.distances import Metric, direction_divisors
from fastreid_ext.functional.precision import full_precision
from fastreid_ext.utils.threads import block_pool, in_order

__all__ = ["ReciprocalRule", "RerankVariant", "encode"]

RerankVariant = Literal["paper", "released", "fastreid"]

_PARTS = 64
_PAIRS = 2**14


@dataclass(frozen=True)
class ReciprocalRule:
    """How images are encoded: see `k_reciprocal_rerank` for the variants.

    Attributes:
        k1: size of the neighbourhoods.
        k2: images that an encoding is averaged over.
        variant: whose rule.
    """

    k1: int = 20
    k2: int = 6
    variant: RerankVariant = "paper"

    def check(self, images: int, gallery: int) -> None:
        """Refuses what the images cannot give.

        Raises:
            ValueError: a number is out of range, or the variant is unknown.
        """
        if self.variant not in get_args(RerankVariant):
            raise ValueError(f"unknown variant '{self.variant}': choose one of {', '.join(get_args(RerankVariant))}.")
        others = min(gallery, images - 1)
        if not 1 <= self.k1 <= others:
            raise ValueError(f"k1 must be between 1 and the {others} images of the gallery; got {self.k1}.")
        if not 1 <= self.k2 <= images:
            raise ValueError(f"k2 must be between 1 and the number of images, {images}; got {self.k2}.")

    @property
    def near(self) -> int:
        """Nearest images that are looked at, the image itself among them."""
        return self.k1 if self.variant == "fastreid" else self.k1 + 1

    @property
    def half(self) -> int:
        """Nearest images for the neighbours of neighbours."""
        # Rounded as NumPy does it, half to even.
        return min(round(self.k1 / 2) + 1, self.near)

    @property
    def averaged(self) -> int:
        """Encodings that are averaged."""
        return min(self.k2, self.near) if self.variant == "fastreid" else self.k2

    @property
    def searched(self) -> int:
        """Nearest images that must be known."""
        return max(self.near, self.averaged)


def encode(features: Tensor, neighbours: Neighbours, metric: Metric, rule: ReciprocalRule) -> Any:
    """Weights of each image's extended k-reciprocal neighbours, averaged over its nearest images.

    Args:
        features: of all images.
        neighbours: of these, `rule.searched` each.
        metric: of the distances that weights are made of.
        rule: how.

    Shape:
        features: (N, D). Result: (N, N), a SciPy array in rows.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, equations 3, 4,
    7 and 11.
    """
    nearest = neighbours.indices.cpu().numpy()
    members = _extended(_reciprocal(nearest[:, : rule.near]), _reciprocal(nearest[:, : rule.half]), rule.variant)
    distances = _pair_distances(features, members, metric)
    if rule.variant == "released":
        assert neighbours.farthest is not None
        farthest = neighbours.farthest.cpu().numpy().clip(np.finfo(distances.dtype).tiny)
        distances /= np.repeat(farthest, np.diff(members.indptr))
    elif rule.variant == "fastreid" and metric == "cosine":
        distances *= 2
    encodings = sparse.csr_array((np.exp(-distances), members.indices, members.indptr), shape=members.shape)
    if rule.variant != "paper":
        encodings.data /= np.repeat(encodings.sum(axis=1), np.diff(encodings.indptr))
    if rule.averaged > 1:
        share = np.array(1 / rule.averaged, encodings.dtype)
        encodings = (_table(nearest[:, : rule.averaged]).astype(encodings.dtype) * share) @ encodings
    encodings = sparse.csr_array(encodings)
    encodings.eliminate_zeros()
    return encodings


def _table(indices: NDArray[Any]) -> Any:
    """A sparse matrix with a one wherever a row names a column."""
    rows, columns = indices.shape
    pointers = np.arange(0, rows * columns + 1, columns)
    return sparse.csr_array((np.ones(rows * columns, np.int32), indices.ravel(), pointers), shape=(rows, rows))


def _reciprocal(nearest: NDArray[Any]) -> Any:
    """R(p, k), equation 3: a one wherever two images are among each other's nearest."""
    table = _table(nearest)
    return table.multiply(table.T).tocsr()


def _extended(near: Any, half: Any, variant: RerankVariant) -> Any:
    """R*(p, k), equation 4: with the half-size sets of neighbours, where two thirds of these are neighbours, too."""
    common = (near @ half).multiply(near).tocsr()
    size = np.diff(half.indptr)[common.indices]
    enough = 3 * common.data >= 2 * size if variant == "paper" else 3 * common.data > 2 * size
    common.data = enough.astype(np.int32)
    members = sparse.csr_array(near + common @ half)
    members.eliminate_zeros()
    members.sort_indices()
    return members


def _pair_distances(features: Tensor, pairs: Any, metric: Metric) -> NDArray[Any]:
    """Distances between the images that a sparse matrix pairs, in the order of its items; 0 to the image itself."""
    first = np.repeat(np.arange(len(features)), np.diff(pairs.indptr))
    with full_precision(features.device.type):
        products = _pair_products(features, first, pairs)
    squares = torch.cat([part.square().sum(1) for part in torch.split(features, _PAIRS)])
    if metric == "cosine":
        factors = direction_divisors(squares.sqrt()).reciprocal().cpu().numpy()
        distances = 1 - products * factors[first] * factors[pairs.indices]
    else:
        lengths = squares.cpu().numpy()
        distances = lengths[first] + lengths[pairs.indices] - 2 * products
    return np.where(first == pairs.indices, 0, distances.clip(0)).astype(distances.dtype)


def _pair_products(features: Tensor, first: NDArray[Any], pairs: Any) -> NDArray[Any]:
    if features.device.type != "cpu":
        chunks = (torch.from_numpy(part).to(features.device) for part in (first, pairs.indices.astype(np.int64)))
        parts = zip(*(torch.split(chunk, _PAIRS) for chunk in chunks), strict=True)
        return torch.cat([torch.linalg.vecdot(features[a], features[b]) for a, b in parts]).cpu().numpy()
    values = features.numpy()
    products = np.empty(pairs.nnz, values.dtype)
    bounds = np.linspace(0, len(values), _PARTS + 1).astype(np.int64)

    def compute(part: int) -> None:
        pair_products(products, values, pairs.indptr, pairs.indices, bounds[part], bounds[part + 1])

    with block_pool(features.device, _PARTS) as pool:
        for _ in in_order(compute, iter(range(_PARTS)), pool=pool, ahead=torch.get_num_threads()):
            pass
    return products
