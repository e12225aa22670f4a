"""Market-1501."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.base import ReIDDataset
from fastreid_ext.data.datasets.files import image_files
from fastreid_ext.data.datasets.market_layout import read_market_layout
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.sample import Sample

__all__ = ["Market1501"]


@DATASETS.register(source="Zheng et al., ICCV 2015")
class Market1501(ReIDDataset):
    """Market-1501: 1,501 people under six cameras on a campus.

    Reference: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015.
    Link: https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html
    Counts: 12,936 training images of 751 people, 3,368 queries of 750, and 15,913 gallery images of the same 750 and of
    distractors. Distractors (pid 0) stay in the gallery and are no identity; the 3,819 junk images (pid -1) of the
    19,732 files are dropped, which ranks as passing over them does.
    Layout: see `layout`; the three folders may also lie in the root itself.

    Args:
        root: folder of the data sets.
        distractors_500k: whether the images of the 500k supplement, in the folder `images`, join the gallery as
            distractors. The gallery's count is then not checked.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/Market-1501-v15.09.15/\n"
        "  bounding_box_train/  0002_c1s1_000451_03.jpg ...\n"
        "  query/\n"
        "  bounding_box_test/\n"
        "  images/              only with distractors_500k=True"
    )
    distractor_pids: ClassVar[frozenset[int]] = frozenset({0})

    def __init__(self, root: Path, *, distractors_500k: bool = False, strict: bool = True) -> None:
        super().__init__()
        self.distractors_500k = distractors_500k
        folder = Path(root) / "Market-1501-v15.09.15"
        if not folder.is_dir() and (Path(root) / "bounding_box_train").is_dir():
            folder = Path(root)
        read_market_layout(self, folder)
        if distractors_500k:
            self.gallery += self._distractors(folder / "images")
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        counts = {
            "train_images": 12_936,
            "train_ids": 751,
            "query_images": 3_368,
            "query_ids": 750,
            "gallery_images": 15_913,
            "gallery_ids": 750,
        }
        if self.distractors_500k:
            del counts["gallery_images"]
        return counts

    def _distractors(self, folder: Path) -> list[Sample]:
        """Images of nobody; their camera never matters, as it only does for a query's own identity."""
        self.require(folder)
        samples = [Sample(str(folder / name), 0, 0) for name in image_files(folder)]
        self.require_samples(images=samples)
        return samples
