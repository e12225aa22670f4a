"""Stanford Online Products."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.base import ReIDDataset
from fastreid_ext.data.datasets.files import text_lines
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["SOP"]


@DATASETS.register(source="Oh Song et al., CVPR 2016")
class SOP(ReIDDataset):
    """Stanford Online Products: 22,634 products from an auction site.

    Every test image is a query against all other test images. There are no cameras.

    Reference: Oh Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016.
    Link: https://cvgl.stanford.edu/projects/lifted_struct/
    Counts: 59,551 training images of 11,318 products, 60,502 test images of 11,316 others.
    Layout: see `layout`.

    Args:
        root: folder of the data sets.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/Stanford_Online_Products/\n"
        "  Ebay_train.txt, Ebay_test.txt   a header, then lines '<number> <product> <category> <path>'\n"
        "  bicycle_final/ ... toaster_final/"
    )
    protocol = Protocol(camera_rule=False, query_is_gallery=True)

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__()
        folder = Path(root) / "Stanford_Online_Products"
        lists = [folder / "Ebay_train.txt", folder / "Ebay_test.txt"]
        self.require(*lists)
        self.train, self.query = (self._read(path) for path in lists)
        self.gallery = list(self.query)
        self.require_samples(**{lists[0].name: self.train, lists[1].name: self.query})
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        return {"train_images": 59_551, "train_ids": 11_318, "gallery_images": 60_502, "gallery_ids": 11_316}

    def _read(self, path: Path) -> list[Sample]:
        samples = []
        for line in text_lines(path)[1:]:
            fields = line.split(maxsplit=3)
            if len(fields) != 4 or not fields[1].isdecimal():
                raise self.malformed(path, line, "1 1 1 bicycle_final/111085122871_0.JPG")
            samples.append(Sample(str(path.parent / fields[3]), int(fields[1]), 0))
        return samples
