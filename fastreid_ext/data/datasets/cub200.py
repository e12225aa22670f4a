"""CUB-200-2011 as a retrieval set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.files import text_lines
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["CUB200"]

_TRAIN_CLASSES = 100


@DATASETS.register(source="Wah et al., Caltech 2011", aliases=["CUB"])
class CUB200(ReIDDataset):
    """CUB-200-2011: 200 species of birds; retrieval among the species that training does not see.

    Every test image is a query against all other test images. There are no cameras.

    Reference: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", Caltech 2011; Oh Song et al., "Deep Metric
    Learning via Lifted Structured Feature Embedding", CVPR 2016, for the split.
    Link: https://www.vision.caltech.edu/datasets/cub_200_2011/
    Counts: 5,864 training images of classes 1-100, 5,924 test images of classes 101-200.
    Layout: see `layout`.

    Args:
        root: folder of the data sets.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/CUB_200_2011/\n"
        "  images/                 001.Black_footed_Albatross/....jpg\n"
        "  images.txt              lines '<number> <path below images>'\n"
        "  image_class_labels.txt  lines '<number> <class>'"
    )
    protocol = Protocol(camera_rule=False, query_is_gallery=True)

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__()
        folder = Path(root) / "CUB_200_2011"
        lists = [folder / "images.txt", folder / "image_class_labels.txt"]
        self.require(folder / "images", *lists)
        names, classes = (self._read(path) for path in lists)
        if names.keys() != classes.keys():
            one_sided = ", ".join(sorted(names.keys() ^ classes.keys())[:5])
            raise DatasetError(
                f"{folder.absolute()}: only one of images.txt and image_class_labels.txt has {one_sided}."
            )
        samples = [Sample(str(folder / "images" / name), int(classes[n]), 0) for n, name in names.items()]
        self.train = [sample for sample in samples if sample.pid <= _TRAIN_CLASSES]
        self.query = [sample for sample in samples if sample.pid > _TRAIN_CLASSES]
        self.gallery = list(self.query)
        self.require_samples(train=self.train, test=self.query)
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        return {"train_images": 5_864, "train_ids": 100, "gallery_images": 5_924, "gallery_ids": 100}

    def _read(self, path: Path) -> dict[str, str]:
        """What a list says of each image number."""
        values = {}
        for line in text_lines(path):
            fields = line.split(maxsplit=1)
            if len(fields) != 2 or (path.name == "image_class_labels.txt" and not fields[1].isdecimal()):
                raise self.malformed(path, line, "1 1" if "labels" in path.name else "1 001.Albatross/1.jpg")
            values[fields[0]] = fields[1]
        return values
