"""How alike embeddings are, by a model's own measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.functional.beta_norm import beta_normalize
from fastreid_ext.functional.distances import Metric, check_metric, cosine_distance, euclidean_distance

__all__ = ["as_embeddings", "similarity"]


def similarity(a: Tensor, b: Tensor, *, metric: Metric = "cosine", beta: float | None = None) -> Tensor:
    """Similarity of every row of `a` to every row of `b`; the more alike, the larger.

    Args:
        a: embeddings.
        b: embeddings.
        metric: "cosine" gives the cosine of the angle between them, from -1 to 1; "euclidean" the negative squared
            distance, at most 0.
        beta: of the normalisation that comes first (`beta_normalize`); None for none.

    Shape:
        a: (N, D). b: (M, D).
        Result: (N, M).

    Raises:
        ValueError: the metric is unknown, or embeddings are not finite.
    """
    check_metric(metric)
    if beta is not None:
        a, b = beta_normalize(a, beta), beta_normalize(b, beta)
    result = 1 - cosine_distance(a, b) if metric == "cosine" else -euclidean_distance(a, b, squared=True)
    if not result.isfinite().all():
        raise ValueError(
            "similarities are not finite, as the embeddings are not: has the training of the model diverged?"
        )
    return result


def as_embeddings(values: Any, dim: int) -> Tensor | None:
    """Arrays and tensors of floats with one or two axes as rows; None for anything else.

    A grey image (H, W) of floats is taken for embeddings, too: give it as (H, W, 1).

    Shape:
        Result: (N, dim), float32, on the CPU.

    Raises:
        ValueError: they have another width.
    """
    if not isinstance(values, (np.ndarray, Tensor)) or values.ndim not in (1, 2):
        return None
    tensor = torch.as_tensor(values).detach()
    if not tensor.is_floating_point():
        return None
    if tensor.shape[-1] != dim:
        raise ValueError(f"embeddings of this model have {dim} dimensions, these have {tensor.shape[-1]}")
    return tensor.float().cpu().reshape(-1, dim)
