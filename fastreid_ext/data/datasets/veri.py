"""VeRi-776."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.base import ReIDDataset
from fastreid_ext.data.datasets.market_layout import read_market_layout
from fastreid_ext.data.datasets.registry import DATASETS

__all__ = ["VeRi"]


@DATASETS.register(source="Liu et al., ECCV 2016")
class VeRi(ReIDDataset):
    """VeRi-776: vehicles under 20 cameras in a city.

    Reference: Liu et al., "A Deep Learning-Based Approach to Progressive Vehicle Re-identification for Urban
    Surveillance", ECCV 2016.
    Link: https://github.com/JDAI-CV/VeRidataset
    Counts: 37,778 training images, 1,678 queries of 200 vehicles, 11,579 gallery images of 200. The number of training
    vehicles is not checked: sources give 576 or 575.
    Layout: see `layout`.

    Args:
        root: folder of the data sets.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = "<root>/veri/\n  image_train/  0001_c001_00016450_0.jpg ...\n  image_query/\n  image_test/"

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__()
        read_market_layout(self, Path(root) / "veri", folders=("image_train", "image_query", "image_test"))
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        return {
            "train_images": 37_778,
            "query_images": 1_678,
            "query_ids": 200,
            "gallery_images": 11_579,
            "gallery_ids": 200,
        }
