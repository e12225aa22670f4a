"""CUHK03 with its classic and its new protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.cuhk03_files import ClassicIndex, Kind, NewSplit, classic_index, new_split
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["CUHK03"]

_NEW_COUNTS = {"labeled": (7_368, 1_400, 5_328), "detected": (7_365, 1_400, 5_332)}


@DATASETS.register(source="Li et al., CVPR 2014; Zhong et al., CVPR 2017")
class CUHK03(ReIDDataset):
    """CUHK03: 1,467 people, each under one of five pairs of cameras.

    New protocol: one split, ranked like Market-1501. Classic protocol: 20 splits with 100 test people; all their images
    are queries and gallery, and the CMC is of galleries with one image of each person drawn at random.

    Reference: Li et al., "DeepReID: Deep Filter Pairing Neural Network for Person Re-Identification", CVPR 2014; Zhong
    et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, for the new protocol.
    Link: https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html; https://github.com/zhunzhong07/person-re-ranking
    Counts: new protocol, 767 training and 700 test people: labeled 7,368 training images, 1,400 queries and 5,328
    gallery images, detected 7,365, 1,400 and 5,332. Classic protocol: 1,367 training and 100 test people.
    Layout: see `layout`. The first use writes the images as PNG beside the MATLAB files, which needs the extra `mat`
    (h5py); later uses read those.

    Args:
        root: folder of the data sets.
        labeled: boxes drawn by hand; False: boxes of a detector.
        protocol: "new" or "classic".
        split: number of the classic split, 0-19; the new protocol has split 0 only.
        repeats: how many single-shot galleries the classic protocol draws for the CMC.
        seed: of those draws.
        strict: whether other counts than the published ones are an error.
    """

    layout: ClassVar[str] = (
        "<root>/cuhk03/\n"
        "  cuhk03_release/cuhk-03.mat\n"
        "  cuhk03_new_protocol_config_labeled.mat    (new protocol)\n"
        "  cuhk03_new_protocol_config_detected.mat   (new protocol)"
    )

    def __init__(
        self,
        root: Path,
        *,
        labeled: bool = True,
        protocol: Literal["new", "classic"] = "new",
        split: int = 0,
        repeats: int = 10,
        seed: int = 0,
        strict: bool = True,
    ) -> None:
        super().__init__()
        if protocol not in ("new", "classic"):
            raise DatasetError(f"CUHK03 has the protocols new and classic, not {protocol!r}.")
        self.kind: Kind = "labeled" if labeled else "detected"
        self.is_classic = protocol == "classic"
        folder = Path(root) / "cuhk03"
        if not (folder / f"extracted_{self.kind}" / "index.json").is_file():
            self.require(folder / "cuhk03_release" / "cuhk-03.mat")
        if not self.is_classic and not (folder / f"index_new_{self.kind}.json").is_file():
            self.require(folder / f"cuhk03_new_protocol_config_{self.kind}.mat")
        index = classic_index(folder, self.kind)
        splits = len(index["test_sets"]) if self.is_classic else 1
        if split not in range(splits):
            raise DatasetError(f"CUHK03's {protocol} protocol has the splits 0 to {splits - 1}, not {split}.")
        self._images = folder / f"extracted_{self.kind}"
        if self.is_classic:
            self.protocol = Protocol(single_gallery_shot=repeats, seed=seed)
            self._take_classic(index, split)
        else:
            self._take_new(new_split(folder, self.kind))
        self.require_samples(train=self.train, query=self.query, gallery=self.gallery)
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        if self.is_classic:
            return {"train_ids": 1_367, "query_ids": 100, "gallery_ids": 100}
        train, query, gallery = _NEW_COUNTS[self.kind]
        return {
            "train_images": train,
            "train_ids": 767,
            "query_images": query,
            "query_ids": 700,
            "gallery_images": gallery,
            "gallery_ids": 700,
        }

    def _take_classic(self, index: ClassicIndex, split: int) -> None:
        tested = {tuple(person) for person in index["test_sets"][split]}
        for pid, (pair, person, names) in enumerate(index["people"], start=1):
            samples = self.query if (pair, person) in tested else self.train
            samples.extend(self._sample(name, pid) for name in names)
        self.gallery = list(self.query)

    def _take_new(self, split: NewSplit) -> None:
        self.train = [self._sample(name, pid) for name, pid in split["train"]]
        self.query = [self._sample(name, pid) for name, pid in split["query"]]
        self.gallery = [self._sample(name, pid) for name, pid in split["gallery"]]

    def _sample(self, name: str, pid: int) -> Sample:
        """The third field of a name is the view, from 1; it serves as the camera."""
        return Sample(str(self._images / name), pid, int(name.split("_")[2]) - 1)
