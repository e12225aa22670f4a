"""The features of several models as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fastreid_ext.evaluation.feature_set import FeatureSet

__all__ = ["side_by_side"]


def side_by_side(members: Sequence[FeatureSet]) -> FeatureSet:
    """The features that several models give of a data set next to each other, with their widths in `parts`.

    An image that one of them lacks, as it could not be read, is in none.

    Args:
        members: of one data set; one at least, all with paths.

    Raises:
        ValueError: they are of different data sets.
    """
    names = {member.name for member in members}
    if len(names) > 1:
        raise ValueError(f"features of {' and of '.join(sorted(names))} are of different images: they cannot be joined")
    keys = [_keys(member) for member in members]
    kept = [key for key in keys[0] if all(key in others for others in keys[1:])]
    rows = [torch.tensor([places[key] for key in kept], dtype=torch.int64) for places in keys]
    first = members[0]
    # Of each image of the first, its row among those that are kept.
    places = torch.full((len(first.values),), -1)
    places[rows[0]] = torch.arange(len(kept))
    return replace(
        first,
        values=torch.cat([member.values[chosen] for member, chosen in zip(members, rows, strict=True)], dim=1),
        pids=first.pids[rows[0]],
        camids=first.camids[rows[0]],
        paths=[first.paths[row] for row in rows[0].tolist()],
        trials=[(_moved(query, places), _moved(gallery, places)) for query, gallery in first.trials],
        parts=tuple(width for member in members for width in member.parts or (member.values.shape[1],)),
    )


def _keys(member: FeatureSet) -> dict[tuple[str, int, int], int]:
    labels = zip(member.paths, member.pids.tolist(), member.camids.tolist(), strict=True)
    return {label: row for row, label in enumerate(labels)}


def _moved(indices: Tensor, places: Tensor) -> Tensor:
    moved = places[indices]
    return moved[moved >= 0]
