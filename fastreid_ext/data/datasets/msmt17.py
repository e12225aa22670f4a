"""MSMT17, versions 1 and 2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.files import text_lines
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.sample import Sample

__all__ = ["MSMT17"]

_FOLDERS: dict[str, tuple[str, str]] = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}

_LINE = re.compile(r"((?:.*/)?[^/_]+_[^/_]+_(\d+)_[^/]*) (\d+)")


@DATASETS.register(source="Wei et al., CVPR 2018")
class MSMT17(ReIDDataset):
    """MSMT17: 4,101 people under fifteen cameras, indoors and outdoors, at several times of day.

    Reference: Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018.
    Link: https://www.pkuvmc.com/dataset.html
    Counts: 32,621 training images of 1,041 people, 11,659 queries of 3,060, 82,161 gallery images of 3,060. The
    training images come in two lists, 30,248 in `list_train.txt` and 2,373 of the same people in `list_val.txt`.
    Layout: see `layout`. The lists number the people of train and of test from 0 each; those of test continue here
    after those of train.

    Args:
        root: folder of the data sets.
        version: V1, or V2 with blurred faces; None takes the one that is there, V1 first.
        combine_val: whether `list_val.txt` is trained on too, which the published 32,621 images include. FastReID
            trains on `list_train.txt` alone: False.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/MSMT17_V1/  or  <root>/MSMT17_V2/\n"
        "  train/                  (V2: mask_train_v2/)  0000/0000_000_01_0303morning_0015_0.jpg ...\n"
        "  test/                   (V2: mask_test_v2/)\n"
        "  list_train.txt  list_val.txt  list_query.txt  list_gallery.txt"
    )

    def __init__(
        self,
        root: Path,
        *,
        version: Literal["V1", "V2"] | None = None,
        combine_val: bool = True,
        strict: bool = True,
    ) -> None:
        super().__init__()
        if version is not None and version not in _FOLDERS:
            raise DatasetError(f"MSMT17 has the versions V1 and V2, not {version!r}.")
        self.combine_val = combine_val
        present = (name for name in _FOLDERS if (Path(root) / f"MSMT17_{name}").is_dir())
        self.version: str = version if version is not None else next(present, "V1")
        folder = Path(root) / f"MSMT17_{self.version}"
        train, test = (folder / name for name in _FOLDERS[self.version])
        lists = {name: folder / f"list_{name}.txt" for name in ("train", "val", "query", "gallery")}
        self.require(train, test, *lists.values())
        self.train = self._read(lists["train"], train)
        val = self._read(lists["val"], train)
        first_test_pid = 1 + max((sample.pid for sample in self.train + val), default=-1)
        self.query = self._read(lists["query"], test, first_test_pid)
        self.gallery = self._read(lists["gallery"], test, first_test_pid)
        self.require_samples(**{"list_train.txt": self.train, "list_query.txt": self.query})
        self.require_samples(**{"list_gallery.txt": self.gallery})
        if combine_val:
            self.train += val
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        return {
            "train_images": 32_621 if self.combine_val else 30_248,
            "train_ids": 1_041,
            "query_images": 11_659,
            "query_ids": 3_060,
            "gallery_images": 82_161,
            "gallery_ids": 3_060,
        }

    def _read(self, path: Path, folder: Path, first_pid: int = 0) -> list[Sample]:
        """Samples of a list of `<path> <pid>` lines; the third field of the file's name is the camera, from 1."""
        samples = []
        for line in text_lines(path):
            match = _LINE.fullmatch(line)
            if match is None:
                raise self.malformed(path, line, "0000/0000_000_01_0303morning_0015_0.jpg 0")
            name, camera, pid = match.groups()
            samples.append(Sample(str(folder / name), int(pid) + first_pid, int(camera) - 1))
        return samples
