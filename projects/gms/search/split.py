"""The proxy task's data: training identities divided into those to train with and those to validate with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastreid_ext.config import ConfigError
from fastreid_ext.data.build import TrainData
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.sample import Sample

__all__ = ["ValidationSet", "proxy_split"]


class ValidationSet(ReIDDataset):
    """Every image searches all others, under the camera rule of the data set that it is from."""

    def __init__(self, samples: Sequence[Sample], *, camera_rule: bool) -> None:
        super().__init__()
        self.spec = "validation"
        self.protocol = replace(self.protocol, camera_rule=camera_rule, query_is_gallery=True)
        self.query = self.gallery = list(samples)


def proxy_split(data: TrainData, train_share: float, *, seed: int = 0) -> tuple[TrainData, ValidationSet]:
    """Draws the identities to train with; the images of the others are the validation set.

    Source: AutoLoss-GMS, section G.1, with `train_share` 0.8; how the validation images are divided into query and
    gallery is not printed: here each is a query.

    Args:
        data: images of all training identities.
        train_share: of the identities.
        seed: of the draw.

    Raises:
        ConfigError: too few identities on either side, or no validation identity that can be found again.
    """
    number = round(data.num_classes * train_share)
    order = np.random.default_rng(seed).permutation(data.num_classes)
    chosen = {int(pid): label for label, pid in enumerate(sorted(order[:number].tolist()))}
    camera_rule = all(dataset.protocol.camera_rule for dataset in data.datasets)
    validation = [sample for sample in data.samples if sample.pid not in chosen]
    findable = _findable(validation, camera_rule=camera_rule)
    if len(chosen) < 2 or findable < 2:
        needed = "images under two cameras" if camera_rule else "two images"
        raise ConfigError(
            f"SEARCH.LOSS.TRAIN_SHARE {train_share} of {data.num_classes} identities leaves {len(chosen)} to train "
            f"with and {data.num_classes - len(chosen)} to validate with, of which {findable} have {needed}: the proxy "
            f"task needs two of each at least"
        )
    train = [Sample(sample.path, chosen[sample.pid], sample.camid) for sample in data.samples if sample.pid in chosen]
    return replace(data, samples=train, num_classes=len(chosen)), ValidationSet(validation, camera_rule=camera_rule)


def _findable(samples: Sequence[Sample], *, camera_rule: bool) -> int:
    """Identities of which an image can find another."""
    places: dict[int, set[object]] = defaultdict(set)
    for sample in samples:
        places[sample.pid].add(sample.camid if camera_rule else sample.path)
    return sum(len(place) > 1 for place in places.values())
