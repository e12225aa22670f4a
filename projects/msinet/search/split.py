"""Training images divided into a training and a validation split that share some identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastreid_ext.config import ConfigError
from fastreid_ext.data.build import TrainData
from fastreid_ext.data.sample import Sample

__all__ = ["check_ratio", "overlap_split"]


def overlap_split(data: TrainData, ratio: Sequence[int], *, seed: int = 0) -> tuple[TrainData, TrainData]:
    """Training and validation split, each with its own numbers of identities from 0.

    With 60 and 80: of the identities, drawn at random, 20 % are for training only, 40 % for validation only, and each
    of the other 40 % has half of its images in either. 100 and 100 share all of them.

    Source: section 3.1 and Table 9 of the paper.

    Args:
        data: images of all identities.
        ratio: percentages of the identities that are in the training and in the validation split; together at least
            100, so that every identity is in one of them.
        seed: of the draws.

    Raises:
        ConfigError: a ratio that does not cover the identities or leaves a split empty, or too few identities with two
            images to share.
    """
    train_share, validation_share = check_ratio(ratio)
    images: list[list[Sample]] = [[] for _ in range(data.num_classes)]
    for sample in data.samples:
        images[sample.pid].append(sample)
    number = len(images)
    in_validation = round(number * validation_share / 100)
    # Rounding each share by itself would let splits without overlap share an identity.
    shared = min(in_validation, round(number * (train_share + validation_share - 100) / 100))
    sizes = {"train": number - in_validation + shared, "validation": in_validation}
    for split, size in sizes.items():
        if not size:
            raise ConfigError(
                f"SEARCH.ARCH.SPLIT {list(ratio)} leaves no identity for the {split} split: there are {number} in all"
            )
    rng = np.random.default_rng(seed)
    order = [int(pid) for pid in rng.permutation(number)]
    # What is to be shared needs two images.
    divisible = [pid for pid in order if len(images[pid]) > 1][:shared]
    if len(divisible) < shared:
        raise ConfigError(
            f"SEARCH.ARCH.SPLIT {list(ratio)} shares {shared} identities, but only {len(divisible)} have two images"
        )
    chosen = set(divisible)
    own = [pid for pid in order if pid not in chosen]
    train = {pid: images[pid] for pid in own[: number - in_validation]}
    validation = {pid: images[pid] for pid in own[number - in_validation :]}
    for pid in divisible:
        shuffled = [images[pid][int(place)] for place in rng.permutation(len(images[pid]))]
        half = len(shuffled) // 2
        validation[pid], train[pid] = shuffled[:half], shuffled[half:]
    return _renumbered(data, train), _renumbered(data, validation)


def check_ratio(ratio: Sequence[int]) -> tuple[int, int]:
    """The two percentages.

    Raises:
        ConfigError: they are no such, or leave identities unused.
    """
    if len(ratio) != 2 or not all(isinstance(share, int) and 0 < share <= 100 for share in ratio):
        raise ConfigError(
            f"SEARCH.ARCH.SPLIT is {list(ratio)}: it takes the percentages of identities in the training and in the "
            f"validation split, whole numbers, each above 0 and at most 100; an empty one leaves nothing to learn from"
        )
    if sum(ratio) < 100:
        raise ConfigError(
            f"SEARCH.ARCH.SPLIT {list(ratio)} leaves {100 - sum(ratio)} % of the identities unused: the two "
            f"percentages must add up to at least 100"
        )
    return ratio[0], ratio[1]


def _renumbered(data: TrainData, images: dict[int, list[Sample]]) -> TrainData:
    """Identities in their old order, so that splits that share all of them number them alike."""
    samples = [
        Sample(sample.path, label, sample.camid) for label, pid in enumerate(sorted(images)) for sample in images[pid]
    ]
    return replace(data, samples=samples, num_classes=len(images))
