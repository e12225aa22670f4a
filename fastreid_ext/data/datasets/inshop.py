"""In-shop clothes retrieval of DeepFashion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.base import ReIDDataset
from fastreid_ext.data.datasets.files import text_lines
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["InShop"]

_LINE = re.compile(r"(?P<path>\S+)\s+id_(?P<item>\d+)\s+(?P<split>train|query|gallery)")


@DATASETS.register(source="Liu et al., CVPR 2016")
class InShop(ReIDDataset):
    """DeepFashion in-shop clothes retrieval: 7,982 items of clothing from several sides. There are no cameras.

    Reference: Liu et al., "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich Annotations",
    CVPR 2016.
    Link: https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html
    Counts: 25,882 training images of 3,997 items, 14,218 queries of 3,985, 12,612 gallery images of 3,985.
    Layout: see `layout`.

    Args:
        root: folder of the data sets.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/InShop/\n"
        "  Eval/list_eval_partition.txt   the number of lines, a header, then lines '<path> <item> <split>'\n"
        "  Img/img/  or  img/             WOMEN/Dresses/id_00000002/02_1_front.jpg ..."
    )
    protocol = Protocol(camera_rule=False)

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__()
        folder = Path(root) / "InShop"
        partition = folder / "Eval" / "list_eval_partition.txt"
        images = folder / "Img" if (folder / "Img" / "img").is_dir() else folder
        self.require(partition, images / "img")
        splits = dict(self._splits())
        for line in text_lines(partition)[2:]:
            match = _LINE.fullmatch(line)
            if match is None:
                raise self.malformed(partition, line, "img/WOMEN/Dresses/id_00000002/02_1_front.jpg id_00000002 train")
            splits[match["split"]].append(Sample(str(images / match["path"]), int(match["item"]), 0))
        self.require_samples(**splits)
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        return {
            "train_images": 25_882,
            "train_ids": 3_997,
            "query_images": 14_218,
            "query_ids": 3_985,
            "gallery_images": 12_612,
            "gallery_ids": 3_985,
        }
