"""PKU VehicleID and its test sets of different sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.files import text_lines
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.trials import vehicleid_trial

__all__ = ["LargeVehicleID", "MediumVehicleID", "SmallVehicleID", "VehicleID"]

_SIZES = (800, 1600, 2400, 13164)
_SOURCE = "Liu et al., CVPR 2016"


@DATASETS.register(source=_SOURCE)
class VehicleID(ReIDDataset):
    """PKU VehicleID: vehicles from the front and the back, without camera numbers.

    A trial draws one image of each test vehicle as gallery and takes the others as queries; figures are averages over
    ten trials with fixed seeds. `query` and `gallery` are those of the first trial.

    Reference: Liu et al., "Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles", CVPR 2016.
    Link: https://www.pkuml.org/resources/pku-vehicleid.html
    Counts: 13,164 training vehicles; of the three smaller test lists, gallery images and vehicles equal the list's
    size. Other numbers of images are not checked, as the paper's differ from those of the published lists (110,178 and
    113,346 training images; 7,332 and 6,493 of the 800 test vehicles).
    Layout: see `layout`.

    Args:
        root: folder of the data sets.
        size: test vehicles: 800, 1600, 2400 or 13164.
        trials: how many random splits are averaged.
        seed: of the splits; trial t uses `seed + t`.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/vehicleid/\n"
        "  image/             0000001.jpg ...\n"
        "  train_test_split/  train_list.txt, test_list_800.txt, test_list_1600.txt, test_list_2400.txt, "
        "test_list_13164.txt   (lines '<image> <vehicle>')"
    )

    def __init__(
        self,
        root: Path,
        *,
        size: Literal[800, 1600, 2400, 13164] = 13164,
        trials: int = 10,
        seed: int = 0,
        strict: bool = True,
    ) -> None:
        super().__init__()
        if size not in _SIZES:
            raise DatasetError(f"VehicleID has test lists of {', '.join(map(str, _SIZES))} vehicles, not of {size}.")
        self.size = size
        self.protocol = Protocol(camera_rule=False, trials=trials, seed=seed)
        folder = Path(root) / "vehicleid"
        lists = [folder / "train_test_split" / f"{name}.txt" for name in ("train_list", f"test_list_{size}")]
        self.require(folder / "image", *lists)
        self.train, self._test = (self._read(path, folder / "image") for path in lists)
        self.require_samples(**{lists[0].name: self.train, lists[1].name: self._test})
        self.query, self.gallery = self._trial(0)
        self.check(strict=strict)

    def trials(self) -> list[tuple[list[Sample], list[Sample]]]:
        return [self._trial(number) for number in range(self.protocol.trials)]

    def published(self) -> Mapping[str, int]:
        if self.size == 13164:
            return {"train_ids": 13_164}
        return {"train_ids": 13_164, "gallery_images": self.size, "gallery_ids": self.size}

    def _trial(self, number: int) -> tuple[list[Sample], list[Sample]]:
        pids = torch.tensor([sample.pid for sample in self._test])
        query, gallery = vehicleid_trial(pids, self.protocol.seed + number)
        return [self._test[i] for i in query.tolist()], [self._test[i] for i in gallery.tolist()]

    def _read(self, path: Path, images: Path) -> list[Sample]:
        samples = []
        for line in text_lines(path):
            fields = line.split()
            if len(fields) != 2 or not fields[1].isdecimal():
                raise self.malformed(path, line, "0000001 1")
            samples.append(Sample(str(images / f"{fields[0]}.jpg"), int(fields[1]), 0))
        return samples


@DATASETS.register(source=_SOURCE)
class SmallVehicleID(VehicleID):
    """VehicleID tested on 800 vehicles."""

    def __init__(self, root: Path, *, trials: int = 10, seed: int = 0, strict: bool = True) -> None:
        super().__init__(root, size=800, trials=trials, seed=seed, strict=strict)


@DATASETS.register(source=_SOURCE)
class MediumVehicleID(VehicleID):
    """VehicleID tested on 1,600 vehicles."""

    def __init__(self, root: Path, *, trials: int = 10, seed: int = 0, strict: bool = True) -> None:
        super().__init__(root, size=1600, trials=trials, seed=seed, strict=strict)


@DATASETS.register(source=_SOURCE)
class LargeVehicleID(VehicleID):
    """VehicleID tested on 2,400 vehicles."""

    def __init__(self, root: Path, *, trials: int = 10, seed: int = 0, strict: bool = True) -> None:
        super().__init__(root, size=2400, trials=trials, seed=seed, strict=strict)
