"""Folders in the layout of Market-1501: Market-1501 itself, sets published like it, and users' own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.files import image_files
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import JUNK_PID, Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["MARKET_FOLDERS", "MarketLayout", "market_samples", "read_market_layout"]

MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
"""The folders of the training, query and gallery images."""

_NAME = re.compile(r"(-?\d+)_c(\d+)")


def market_samples(folder: Path, *, first_camera: int = 1) -> list[Sample]:
    """The images of one folder, by file name, whose beginning says identity and camera: `0002_c1s1_000451_03.jpg`.

    Junk (pid -1) is left out. Hidden files and files that are no images are passed over.

    Args:
        folder: the folder.
        first_camera: number that the names give to the first camera; it becomes camera 0.

    Raises:
        DatasetError: an image whose name does not say its identity and camera.
    """
    samples = []
    for name in image_files(folder):
        match = _NAME.match(name)
        if match is None or int(match[1]) < JUNK_PID or int(match[2]) < first_camera:
            raise DatasetError(
                f"{folder.absolute() / name}: the name does not begin with an identity and a camera, such as "
                f"0002_c{first_camera}_anything.jpg (identities from 0, or -1 for junk; cameras from {first_camera})."
            )
        if int(match[1]) != JUNK_PID:
            samples.append(Sample(str(folder / name), int(match[1]), int(match[2]) - first_camera))
    return samples


def read_market_layout(
    dataset: ReIDDataset, folder: Path, *, folders: tuple[str, str, str] = MARKET_FOLDERS, first_camera: int = 1
) -> None:
    """Fills the train, query and gallery lists of `dataset` from three folders below `folder`.

    Raises:
        DatasetError: a folder is missing or holds no images, or a file name cannot be read.
    """
    paths = [folder / name for name in folders]
    dataset.require(*paths)
    dataset.train, dataset.query, dataset.gallery = (market_samples(path, first_camera=first_camera) for path in paths)
    dataset.require_samples(**dict(zip(folders, (dataset.train, dataset.query, dataset.gallery), strict=True)))


@DATASETS.register(source="Zheng et al., ICCV 2015")
class MarketLayout(ReIDDataset):
    """Any folder in Market-1501's layout, such as your own data.

    Reference: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015, for the layout.
    Counts: none are published; whatever is there is taken.
    Layout: see `layout`. Identities are numbered from 1; 0 marks distractors and -1 junk in the gallery.

    Args:
        root: folder of the data sets.
        path: the folder, from the working directory or else from `root`: `MarketLayout:/data/mine`.
        first_camera: number of the first camera in the file names.
        camera_rule: whether gallery images of a query's own identity and camera are passed over; False for images
            of one camera, or of none (`0002_c1_anything.jpg` throughout).
        strict: whether missing images are an error.
    """

    layout: ClassVar[str] = (
        "<path>/\n"
        "  bounding_box_train/  0002_c1s1_000451_03.jpg ...   <identity>_c<camera><anything>.jpg|jpeg|png\n"
        "  query/\n"
        "  bounding_box_test/"
    )
    distractor_pids: ClassVar[frozenset[int]] = frozenset({0})

    def __init__(
        self, root: Path, path: str, *, first_camera: int = 1, camera_rule: bool = True, strict: bool = True
    ) -> None:
        super().__init__()
        self.protocol = Protocol(camera_rule=camera_rule)
        read_market_layout(self, self.locate(root, path), first_camera=first_camera)
        self.check(strict=strict)
