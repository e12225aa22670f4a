"""What `rank_metrics` is given: checked, with sentences for people, and brought into one form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.functional.distance_rows import DistanceRows
from fastreid_ext.functional.distances import Metric
from fastreid_ext.functional.precision import wide_type

__all__ = [
    "DistanceSource",
    "Features",
    "Ids",
    "LabelTensors",
    "read_distances",
    "read_features",
    "read_labels",
    "refuse_non_finite",
]

Features = Tensor | NDArray[np.floating[Any]]
Ids = Tensor | NDArray[np.integer[Any]] | Sequence[int]
LabelTensors = tuple[Tensor, Tensor, Tensor | None, Tensor | None]

_NAMED = 5


@dataclass(frozen=True)
class DistanceSource:
    """A distance matrix of which rows are made when they are asked for.

    Attributes:
        shape: number of queries and of gallery images.
        dtype: float32 or float64.
        device: of the distances.
        rows: called with a slice of queries and a tensor that takes their distances, and returns it.

    Shape:
        rows(slice of b queries, (b, G)): (b, G).
    """

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device
    rows: Callable[[slice, Tensor], Tensor]


def read_distances(
    query_features: Features | None,
    gallery_features: Features | None,
    distances: Features | DistanceSource | None,
    metric: Metric,
) -> DistanceSource:
    """The distance rows of either features or a given matrix.

    Raises:
        ValueError: both or neither are given, or they are empty, do not fit together, or hold NaN or Inf.
    """
    if distances is None:
        if query_features is None or gallery_features is None:
            raise ValueError("query_features and gallery_features are both needed, unless distances are given.")
        return _of_features(*read_features(query_features, gallery_features), metric)
    if query_features is not None or gallery_features is not None:
        raise ValueError("got features and distances: give one of them and None for the other.")
    if isinstance(distances, DistanceSource):
        return distances
    matrix = _read_matrix("distances", distances)
    refuse_non_finite("distances", matrix)
    shape = _size(*matrix.shape)
    return DistanceSource(shape, wide_type(matrix.dtype), matrix.device, lambda rows, out: out.copy_(matrix[rows]))


def read_features(query_features: Features, gallery_features: Features) -> tuple[Tensor, Tensor]:
    """Both as tensors that fit together.

    Raises:
        ValueError: they are empty, do not fit together, or hold NaN or Inf.
    """
    query, gallery = _read_matrix("query_features", query_features), _read_matrix("gallery_features", gallery_features)
    _size(len(query), len(gallery))
    for what, a, b in (
        ("number of columns", query.shape[1], gallery.shape[1]),
        ("type", query.dtype, gallery.dtype),
        ("device", query.device, gallery.device),
    ):
        if a != b:
            raise ValueError(f"query_features and gallery_features must have the same {what}; got {a} and {b}.")
    refuse_non_finite("query_features", query)
    refuse_non_finite("gallery_features", gallery)
    return query, gallery


def _of_features(query: Tensor, gallery: Tensor, metric: Metric) -> DistanceSource:
    matrix = DistanceRows(query, gallery, metric)
    return DistanceSource(matrix.shape, wide_type(query.dtype), query.device, matrix.rows)


def read_labels(
    query_pids: Ids,
    gallery_pids: Ids,
    query_camids: Ids | None,
    gallery_camids: Ids | None,
    source: DistanceSource,
    protocol: Protocol,
) -> LabelTensors:
    """Identities and cameras as int64 tensors beside the distances; cameras only where the camera rule is on.

    Shape:
        Result: (Q,), (G,) and, with the camera rule, (Q,), (G,).

    Raises:
        ValueError: a length does not fit, numbers are not integers, or camera ids are missing while the rule is on.
    """
    queries, gallery = source.shape
    q_pids = _read_ids("query_pids", query_pids, queries, source.device)
    g_pids = _read_ids("gallery_pids", gallery_pids, gallery, source.device)
    if protocol.query_is_gallery and not (queries == gallery and torch.equal(q_pids, g_pids)):
        raise ValueError(
            "protocol.query_is_gallery is on, so query and gallery must be the same images in the same order; "
            f"got {queries} queries and {gallery} gallery images{' of other pids' * (queries == gallery)}."
        )
    if not protocol.camera_rule:
        return q_pids, g_pids, None, None
    if query_camids is None or gallery_camids is None:
        raise ValueError(
            "the camera rule is on, but query_camids or gallery_camids are missing: give both, "
            "or protocol=Protocol(camera_rule=False)."
        )
    q_camids = _read_ids("query_camids", query_camids, queries, source.device)
    return q_pids, g_pids, q_camids, _read_ids("gallery_camids", gallery_camids, gallery, source.device)


def refuse_non_finite(name: str, matrix: Tensor, first_row: int = 0) -> None:
    """Raises if a row holds NaN or Inf, with the number of such rows and the first few.

    Raises:
        ValueError: `matrix` is not finite.
    """
    largest = torch.linalg.vector_norm(matrix, ord=torch.inf, dim=1)
    bad = (~largest.isfinite()).nonzero().flatten() + first_row
    if len(bad):
        listed = ", ".join(str(row) for row in bad[:_NAMED].tolist()) + ", ..." * (len(bad) > _NAMED)
        raise ValueError(f"{name} hold NaN or Inf in {len(bad)} row(s): {listed}.")


def _read_matrix(name: str, values: Features) -> Tensor:
    if isinstance(values, np.ndarray) and (min(values.strides, default=0) < 0 or not values.dtype.isnative):
        # What torch cannot take as it lies in memory.
        values = values.astype(values.dtype.newbyteorder("="), order="C")
    matrix = torch.as_tensor(values).detach()
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise ValueError(f"{name} must be a floating-point matrix; got {matrix.dtype} of shape {tuple(matrix.shape)}.")
    if not matrix.shape[1]:
        raise ValueError(f"{name} have no columns; got shape {tuple(matrix.shape)}.")
    return matrix


def _size(queries: int, gallery: int) -> tuple[int, int]:
    if not queries or not gallery:
        raise ValueError(f"there is nothing to rank: {queries} queries and {gallery} gallery images.")
    return queries, gallery


def _read_ids(name: str, values: Ids, length: int, device: torch.device) -> Tensor:
    ids = torch.as_tensor(values)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(f"{name} must be integers; got {ids.dtype}.")
    if tuple(ids.shape) != (length,):
        raise ValueError(f"{name} must have one entry for each of the {length} images; got shape {tuple(ids.shape)}.")
    return ids.to(device=device, dtype=torch.int64)
