"""What every data set is: three lists of samples, published statistics, and an evaluation protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.files import missing_files
from fastreid_ext.data.protocol import JUNK_PID, Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["DatasetError", "ReIDDataset"]


class DatasetError(Exception):
    """Files of a data set are missing or not as published; the message says where it looked and what it expected."""


class ReIDDataset:
    """Train, query and gallery images of a data set.

    A subclass sets `layout` (the folders it expects, shown in errors) and `protocol`, fills `train`, `query` and
    `gallery` in `__init__`, ends it with `self.check(strict=strict)`, and says in `published()` what its authors count.

    Identity numbers mean the same in all three lists: a number in train and in gallery is one identity in both.

    Attributes:
        spec: the name and options under which a config asks for it; results are filed under it.
        train, query, gallery: the samples; query and gallery are empty for sets that are for training only.
        distractor_pids: numbers that stand for "somebody else" in the gallery rather than for one identity.
        unread: images left out because their paths do not say whom they show, which is an error unless `strict` is off.
    """

    layout: ClassVar[str] = ""
    distractor_pids: ClassVar[frozenset[int]] = frozenset()
    protocol: Protocol = Protocol()

    def __init__(self) -> None:
        self.spec = type(self).__name__
        self.train: list[Sample] = []
        self.query: list[Sample] = []
        self.gallery: list[Sample] = []
        self.unread: list[str] = []

    def trials(self) -> list[tuple[list[Sample], list[Sample]]]:
        """Query and gallery of each trial whose figures the protocol averages; one for most data sets."""
        return [(self.query, self.gallery)]

    def published(self) -> Mapping[str, int]:
        """Counts that the authors publish for the chosen options: keys as in `counts`, not necessarily all."""
        return {}

    def counts(self) -> dict[str, int]:
        """Images and identities of each split; junk and distractors are no identities."""
        queried = {sample.pid for sample in self.query}
        counts = {}
        for split, samples in self._splits():
            pids = {sample.pid for sample in samples} - {JUNK_PID}
            if split == "gallery":
                pids -= self.distractor_pids - queried
            counts[f"{split}_images"] = len(samples)
            counts[f"{split}_ids"] = len(pids)
        return counts

    def check(self, *, strict: bool = True) -> None:
        """Compares the counts with the published ones, and looks whether every image is there.

        Args:
            strict: whether to check at all; False is for a user who knows why theirs differ.

        Raises:
            DatasetError: the counts differ or images are missing, as in a half-copied data set.
        """
        if not strict:
            return
        counts = self.counts()
        wrong = [f"{key}: {counts[key]} instead of {n}" for key, n in self.published().items() if counts[key] != n]
        missing = missing_files(sample.path for _, samples in self._splits() for sample in samples)
        if missing:
            wrong.append(f"{len(missing)} images not found, the first is {Path(missing[0]).absolute()}")
        if wrong:
            raise DatasetError(
                f"{type(self).__name__} is not complete or not the published one: {'; '.join(wrong)}. Copy it again, "
                f"or add strict=False ({type(self).__name__}:strict=False) to use it as it is.{self._expected()}"
            )

    def require(self, *paths: Path) -> None:
        """Refuses to go on without these files or folders.

        Raises:
            DatasetError: names every path that is missing, and the layout.
        """
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise self._not_found(missing)

    def locate(self, root: Path, path: str) -> Path:
        """A user's file or folder: from the working directory if it is there, else from `root`.

        Raises:
            DatasetError: it is in neither; both places are named.
        """
        given = Path(path).expanduser()
        places = list(dict.fromkeys((given, Path(root) / given)))
        for place in places:
            if place.exists():
                return place
        raise self._not_found(places)

    def require_samples(self, **splits: Iterable[Sample]) -> None:
        """Refuses empty splits, as a folder without a single matching file gives.

        Raises:
            DatasetError: names the empty splits.
        """
        empty = [name for name, samples in splits.items() if not list(samples)]
        if empty:
            raise DatasetError(f"{type(self).__name__}: no images found for {', '.join(empty)}.{self._expected()}")

    def malformed(self, path: Path, line: str, example: str) -> DatasetError:
        """The error for a line of a list that cannot be read."""
        return DatasetError(
            f"{type(self).__name__}: {path.absolute()}: cannot read {line!r}; expected such as {example!r}."
        )

    def summary(self) -> Sequence[tuple[str, int, int, int]]:
        """Rows (split, identities, images, cameras) for a table in the log."""
        counts = self.counts()
        return [
            (split, counts[f"{split}_ids"], len(samples), len({sample.camid for sample in samples}))
            for split, samples in self._splits()
        ]

    def _splits(self) -> Sequence[tuple[str, list[Sample]]]:
        return (("train", self.train), ("query", self.query), ("gallery", self.gallery))

    def _not_found(self, paths: Iterable[Path]) -> DatasetError:
        missing = ", ".join(str(path.absolute()) for path in paths)
        return DatasetError(
            f"{type(self).__name__}: not found: {missing}. Put the data set there, or set DATASETS.ROOT or the "
            f"environment variable FASTREID_DATASETS to the folder that holds it.{self._expected()}"
        )

    def _expected(self) -> str:
        return f" Expected layout:\n{self.layout}" if self.layout else ""
