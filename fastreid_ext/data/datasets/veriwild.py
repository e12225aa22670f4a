"""VERI-Wild and its test sets of different sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.files import text_lines
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.sample import Sample

__all__ = ["LargeVeRiWild", "MediumVeRiWild", "SmallVeRiWild", "VeRiWild"]

_TEST_VEHICLES = {"small": 3_000, "medium": 5_000, "large": 10_000}
_GALLERY_IMAGES = {"small": 38_861, "medium": 64_389, "large": 128_517}
_SOURCE = "Lou et al., CVPR 2019"


@DATASETS.register(source=_SOURCE)
class VeRiWild(ReIDDataset):
    """VERI-Wild: 40,671 vehicles under 174 cameras during a month.

    Reference: Lou et al., "VERI-Wild: A Large Dataset and a New Method for Vehicle Re-Identification in the Wild",
    CVPR 2019.
    Link: https://github.com/PKU-IMRE/VERI-Wild
    Counts: 277,797 training images of 30,671 vehicles; small, medium and large test set: 3,000, 5,000 and 10,000
    queries, one a vehicle, and 38,861, 64,389 and 128,517 gallery images.
    Layout: see `layout`.

    Args:
        root: folder of the data sets.
        size: of the test set: small, medium or large.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/VERI-Wild/\n"
        "  images/            00001/000001.jpg ...   <vehicle>/<image>.jpg\n"
        "  train_test_split/  train_list.txt, test_{3000,5000,10000}.txt, test_{3000,5000,10000}_query.txt "
        "(lines '<vehicle>/<image>'),\n"
        "                     vehicle_info.txt (a header, then lines '<vehicle>/<image>;<camera>;...')"
    )

    def __init__(self, root: Path, *, size: Literal["small", "medium", "large"] = "large", strict: bool = True) -> None:
        super().__init__()
        if size not in _TEST_VEHICLES:
            raise DatasetError(f"VERI-Wild has the test sets {', '.join(_TEST_VEHICLES)}, not {size!r}.")
        self.size = size
        folder = Path(root) / "VERI-Wild"
        test = f"test_{_TEST_VEHICLES[size]}"
        lists = [folder / "train_test_split" / f"{name}.txt" for name in ("train_list", f"{test}_query", test)]
        info = folder / "train_test_split" / "vehicle_info.txt"
        self.require(folder / "images", info, *lists)
        cameras = self._cameras(info)
        self.train, self.query, self.gallery = (self._read(path, folder / "images", cameras) for path in lists)
        splits = (self.train, self.query, self.gallery)
        self.require_samples(**{path.name: samples for path, samples in zip(lists, splits, strict=True)})
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        vehicles = _TEST_VEHICLES[self.size]
        return {
            "train_images": 277_797,
            "train_ids": 30_671,
            "query_images": vehicles,
            "query_ids": vehicles,
            "gallery_images": _GALLERY_IMAGES[self.size],
            "gallery_ids": vehicles,
        }

    def _cameras(self, path: Path) -> dict[str, int]:
        """Camera of each `<vehicle>/<image>`, numbered from 0 in the order of the file's camera numbers."""
        numbers = {}
        for line in text_lines(path)[1:]:
            fields = line.split(";")
            if len(fields) < 2 or not fields[1].strip().isdecimal():
                raise self.malformed(path, line, "00001/000001;59;2018-03-21 10:00:00;model;type;colour")
            numbers[fields[0].strip()] = int(fields[1])
        order = {number: camid for camid, number in enumerate(sorted(set(numbers.values())))}
        return {image: order[number] for image, number in numbers.items()}

    def _read(self, path: Path, images: Path, cameras: Mapping[str, int]) -> list[Sample]:
        samples = []
        for line in text_lines(path):
            image = line.split()[0].removesuffix(".jpg")
            vehicle = image.partition("/")[0]
            if not vehicle.isdecimal():
                raise self.malformed(path, line, "00001/000001")
            if image not in cameras:
                raise DatasetError(f"{path.absolute()}: vehicle_info.txt says no camera for {image}.{self._expected()}")
            samples.append(Sample(str(images / f"{image}.jpg"), int(vehicle), cameras[image]))
        return samples


@DATASETS.register(source=_SOURCE)
class SmallVeRiWild(VeRiWild):
    """VERI-Wild tested on 3,000 vehicles."""

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__(root, size="small", strict=strict)


@DATASETS.register(source=_SOURCE)
class MediumVeRiWild(VeRiWild):
    """VERI-Wild tested on 5,000 vehicles."""

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__(root, size="medium", strict=strict)


@DATASETS.register(source=_SOURCE)
class LargeVeRiWild(VeRiWild):
    """VERI-Wild tested on 10,000 vehicles."""

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__(root, size="large", strict=strict)
