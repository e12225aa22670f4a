"""Features between their direction and themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid_ext.functional.distances import direction_divisors
from fastreid_ext.functional.precision import widen

__all__ = ["beta_normalize"]


def beta_normalize(features: Tensor, beta: float, parts: Sequence[int] = ()) -> Tensor:
    """Features of length 1 plus `beta` times the features, which keeps some of what their length tells.

    A row of zeros stays zero. Half precision gives float32. Group Loss++ (Elezi et al., TPAMI 2022), eq. 12.

    Args:
        features: embeddings, as the model gives them.
        beta: 0 leaves the direction alone.
        parts: widths of the features of several models that stand side by side, each of which is normalised by itself;
            none for those of one model.

    Shape:
        features: (N, D).
        Result: (N, D).

    Raises:
        ValueError: `parts` do not add up to D.
    """
    if parts and sum(parts) != features.shape[-1]:
        raise ValueError(
            f"parts {list(parts)} add up to {sum(parts)}, but features have {features.shape[-1]} dimensions"
        )
    wide = widen(features)
    members = torch.split(wide, list(parts), dim=-1) if parts else (wide,)
    lengths = [torch.linalg.vector_norm(member, dim=-1, keepdim=True) for member in members]
    normalized = [
        member * (direction_divisors(length).reciprocal() + beta)
        for member, length in zip(members, lengths, strict=True)
    ]
    return torch.cat(normalized, dim=-1) if parts else normalized[0]
