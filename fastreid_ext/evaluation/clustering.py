"""How well clusters of the features agree with the identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.protocol import JUNK_PID
from fastreid_ext.evaluation.rank_inputs import Features, Ids, refuse_non_finite
from fastreid_ext.functional.distances import Metric, check_metric, normalize
from fastreid_ext.utils.env import require

__all__ = ["nmi", "require_clustering"]

_EXTRA = "cpu"


@torch.no_grad()
def nmi(
    features: Features,
    pids: Ids,
    *,
    clusters: int | None = None,
    seed: int = 0,
    iterations: int = 20,
    metric: Metric = "cosine",
) -> float:
    """Normalised mutual information of identities and k-means clusters, 2 I(identity; cluster) / (H + H), in [0, 1].

    As in the papers of metric learning: as many clusters as identities, by faiss' k-means (squared Euclidean distance,
    centroids that start at random images and are not normalised), trained on all images. "cosine" brings features to
    unit length before, "euclidean" takes them as they are. Images of pid -1 are left out. The same seed gives the same
    figure on the same machine with the same number of threads. CUDA features are clustered on the GPU where faiss can.

    Source: Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016.

    Shape:
        features: (N, D). pids: (N,).

    Raises:
        ImportError: faiss or scikit-learn is not installed.
        ValueError: ill-fitting or non-finite input, fewer than 2 identities or clusters, or fewer images than clusters.
    """
    if iterations < 1:
        raise ValueError(f"k-means needs at least 1 iteration; got iterations={iterations}.")
    values, identities = _read(features, pids, metric)
    number = len(np.unique(identities))
    if number < 2:
        raise ValueError(f"NMI compares clusters with identities and needs at least 2 identities; got {number}.")
    clusters = number if clusters is None else clusters
    if not 2 <= clusters <= len(identities):
        raise ValueError(f"clusters must lie between 2 and the number of images, {len(identities)}; got {clusters}.")
    return float(_score()(identities, _kmeans(values, clusters, seed, iterations)))


def require_clustering() -> None:
    """Imports what `nmi` needs.

    Raises:
        ImportError: faiss or scikit-learn is not installed.
    """
    _faiss()
    _score()


def _faiss() -> Any:
    return require("faiss", _EXTRA, "k-means")


def _score() -> Any:
    return require("sklearn.metrics", _EXTRA, "NMI").normalized_mutual_info_score


def _read(features: Features, pids: Ids, metric: Metric) -> tuple[Tensor, NDArray[np.int64]]:
    """Features in float32, of unit length for "cosine", and identities, without junk."""
    check_metric(metric)
    values, identities = torch.as_tensor(features).detach(), torch.as_tensor(pids).cpu()
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(
            f"features must be a floating-point matrix; got {values.dtype} of shape {tuple(values.shape)}."
        )
    if identities.shape != values.shape[:1] or identities.dtype.is_floating_point:
        raise ValueError(
            f"pids must be integers, one for each of the {len(values)} images; got {identities.dtype} of shape "
            f"{tuple(identities.shape)}."
        )
    values = values.float()
    refuse_non_finite("features", values)
    known = identities != JUNK_PID
    if not known.all():
        values = values[known.to(values.device)]
    return normalize(values) if metric == "cosine" else values, identities[known].numpy()


def _kmeans(values: Tensor, clusters: int, seed: int, iterations: int) -> NDArray[np.int64]:
    """The cluster of each image.

    Shape:
        values: (N, D), float32.
        Result: (N,).
    """
    faiss = _faiss()
    points = np.ascontiguousarray(values.cpu().numpy())
    # By default faiss trains on 256 points a cluster at most, and warns below 39.
    kmeans = faiss.Kmeans(
        points.shape[1],
        clusters,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
        gpu=values.is_cuda and faiss.get_num_gpus() > 0,
    )
    kmeans.train(points)
    nearest: NDArray[np.int64] = kmeans.index.search(points, 1)[1][:, 0]
    return nearest
