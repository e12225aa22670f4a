"""Real images, to check and to calibrate models with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from fastreid_ext.data.datasets import DATASETS, build_dataset
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.evaluation.feature_set import test_samples
from fastreid_ext.export.errors import ExportError
from fastreid_ext.inference.images import image_bytes, images_in
from fastreid_ext.utils.logger import get_logger

__all__ = ["real_images"]


def real_images(
    source: str, size: tuple[int, int], *, count: int, split: Literal["train", "test"] = "test", root: str = ""
) -> Tensor:
    """Images of a folder or a data set, spread over all of it, as models take them. Unreadable ones are left out.

    Args:
        source: the spec of a data set, or a folder.
        size: height and width.
        count: how many, or fewer if there are no more.
        split: images of a data set that are meant.
        root: folder of the data sets.

    Shape:
        Result: (N, 3, H, W), uint8.

    Raises:
        ExportError: there is no readable image.
        RegistryError, ConfigError, DatasetError: it is no folder, and the data set cannot be read.
    """
    paths = _paths(source, split, root)
    places = torch.linspace(0, len(paths) - 1, min(count, len(paths))).long().tolist()
    images = []
    for path in [paths[place] for place in places]:
        try:
            images.append(image_bytes(path, size))
        except UnreadableImage as error:
            get_logger(__name__).warning(f"left out: {error}")
    if not images:
        raise ExportError(f"no readable image in {source}")
    return torch.stack(images)


def _paths(source: str, split: str, root: str) -> Sequence[str | Path]:
    # Where data sets lie, their folders have their names.
    if source.partition(":")[0] not in DATASETS.names() and Path(source).is_dir():
        return images_in(source)
    dataset = build_dataset(source, root)
    return [sample.path for sample in (dataset.train if split == "train" else test_samples(dataset))]
