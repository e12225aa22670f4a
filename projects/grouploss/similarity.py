"""How alike the images of a batch are."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from fastreid_ext.functional.distances import normalize
from fastreid_ext.functional.gram import gram_matrix
from fastreid_ext.functional.precision import widen

__all__ = ["Negatives", "check_negatives", "pearson_similarities"]

Negatives = Literal["clamp", "shift"]

_KNOWN = get_args(Negatives)

# How much of a constant's length may be left when its mean is subtracted, in units of the last place.
_ROUNDING = 8


def check_negatives(negatives: str) -> None:
    """Refuses an unknown treatment of negative similarities.

    Raises:
        ValueError: it is neither "clamp" nor "shift".
    """
    if negatives not in _KNOWN:
        raise ValueError(
            f"unknown similarity '{negatives}' of Group Loss (MODEL.LOSSES.GROUP.SIMILARITY): choose one of "
            f"{', '.join(_KNOWN)}"
        )


def pearson_similarities(embeddings: Tensor, negatives: Negatives = "clamp") -> Tensor:
    """Pearson's correlation of all pairs of embeddings, made non-negative; 0 with itself (W of eq. 3, section 3.4.1).

    An embedding whose numbers are all equal, but for rounding, correlates with none.

    Args:
        embeddings: of a batch.
        negatives: "clamp" makes negative correlations 0; "shift" subtracts the lowest of the batch, if it is negative,
            from all.

    Shape:
        embeddings: (B, D), of any floating type.
        Result: (B, B), symmetric, in float32 at least.

    Raises:
        ValueError: `negatives` is neither.
    """
    check_negatives(negatives)
    wide = widen(embeddings)
    centred = wide - wide.mean(1, keepdim=True)
    lengths = torch.linalg.vector_norm(torch.stack([centred.detach(), wide.detach()]), dim=2)
    constant = lengths[0] <= _ROUNDING * torch.finfo(wide.dtype).eps * lengths[1]
    with torch.autocast(wide.device.type, enabled=False):
        correlations = gram_matrix(normalize(centred.masked_fill(constant[:, None], 0)))
    itself = torch.eye(len(wide), dtype=torch.bool, device=wide.device)
    if negatives == "clamp" or not len(wide):
        positive = correlations.relu()
    else:
        positive = correlations - correlations.masked_fill(itself, 0).min().clamp(max=0)
    return positive.masked_fill(itself, 0)
