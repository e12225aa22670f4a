"""Cars196 (Stanford Cars) as a retrieval set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from scipy.io import loadmat

from fastreid_ext.data.datasets.base import ReIDDataset
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["Cars196"]

_TRAIN_CLASSES = 98


@DATASETS.register(source="Krause et al., 3DRR 2013")
class Cars196(ReIDDataset):
    """Cars196: 196 models of cars; retrieval among the models that training does not see.

    Every test image is a query against all other test images. There are no cameras.

    Reference: Krause et al., "3D Object Representations for Fine-Grained Categorization", 3DRR 2013; Oh Song et al.,
    "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016, for the split.
    Link: https://ai.stanford.edu/~jkrause/cars/car_dataset.html
    Counts: 8,054 training images of classes 1-98, 8,131 test images of classes 99-196.
    Layout: see `layout`.

    Args:
        root: folder of the data sets.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/Cars_196/\n  cars_annos.mat\n  car_ims/        000001.jpg ... 016185.jpg (both splits)"
    )
    protocol = Protocol(camera_rule=False, query_is_gallery=True)

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__()
        folder = Path(root) / "Cars_196"
        self.require(folder / "cars_annos.mat", folder / "car_ims")
        annotations = loadmat(folder / "cars_annos.mat")["annotations"].ravel()
        samples = [
            Sample(str(folder / str(entry["relative_im_path"].item())), int(entry["class"].item()), 0)
            for entry in annotations
        ]
        self.train = [sample for sample in samples if sample.pid <= _TRAIN_CLASSES]
        self.query = [sample for sample in samples if sample.pid > _TRAIN_CLASSES]
        self.gallery = list(self.query)
        self.require_samples(train=self.train, test=self.query)
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        return {"train_images": 8_054, "train_ids": 98, "gallery_images": 8_131, "gallery_ids": 98}
