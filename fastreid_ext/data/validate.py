"""Looks through a data set for what would spoil training or evaluation."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from tabulate import tabulate
from tqdm import tqdm

from fastreid_ext.data.datasets.base import ReIDDataset
from fastreid_ext.data.datasets.files import missing_files
from fastreid_ext.data.image import UnreadableImage, read_image
from fastreid_ext.data.protocol import JUNK_PID, Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["Finding", "SplitStatistics", "ValidationReport", "validate"]

_SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One kind of trouble.

    Attributes:
        problem: what is wrong, and what it leads to.
        items: the files or identities that are concerned.
    """

    problem: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class SplitStatistics:
    """What a split holds; the last three are images an identity, junk and distractors left out."""

    split: str
    images: int
    identities: int
    cameras: int
    fewest: int
    median: float
    most: int


@dataclass(frozen=True)
class ValidationReport:
    """What `validate` found."""

    name: str
    statistics: tuple[SplitStatistics, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_text(self) -> str:
        """The report for people: a table of the splits, then each finding with its first items."""
        headers = ["split", "images", "identities", "cameras", "fewest/id", "median/id", "most/id"]
        rows = [tuple(vars(statistics).values()) for statistics in self.statistics]
        lines = [self.name, tabulate(rows, headers=headers)]
        for finding in self.findings:
            lines.append(f"\n{len(finding.items)} {finding.problem}:")
            lines += [f"  {item}" for item in finding.items[:_SHOWN]]
            if len(finding.items) > _SHOWN:
                lines.append(f"  ... and {len(finding.items) - _SHOWN} more")
        lines.append("\nNothing wrong was found." if self.ok else "\nThe data set has faults, see above.")
        return "\n".join(lines)


def validate(dataset: ReIDDataset, *, decode: bool = False) -> ValidationReport:
    """Checks files, identities and the evaluation protocol of a data set.

    Looks for missing files, images of unknown identity, paths listed twice or in both train and test, identities in
    both train and test, queries without a match under the protocol's rules, and, on demand, images that cannot be read.
    A data set made with `strict=False` can have all of these.

    Args:
        dataset: the data set.
        decode: whether to decode every image fully; a progress bar shows on a terminal.
    """
    query, gallery = dataset.trials()[0]
    test = [*query, *gallery]
    paths = list(dict.fromkeys(sample.path for sample in [*dataset.train, *test]))
    missing = missing_files(paths)
    found = [
        ("images not found", missing),
        ("images whose paths do not say whom they show, which are left out", dataset.unread),
        ("paths more than once in a split", _repeated(dataset.train, query, gallery)),
        ("images in both train and test", _shared_paths(dataset.train, test)),
        ("queries that are gallery images too", _leaked(query, gallery, dataset.protocol)),
        ("identities in both train and test", _shared_pids(dataset)),
        (
            "queries without a match in the gallery, which evaluation leaves out",
            _unmatched(query, gallery, dataset.protocol),
        ),
    ]
    if decode:
        found.append(("images that cannot be read", _unreadable(sorted(set(paths) - set(missing)))))
    findings = tuple(Finding(problem, tuple(items)) for problem, items in found if items)
    return ValidationReport(dataset.spec, tuple(_statistics(dataset)), findings)


def _statistics(dataset: ReIDDataset) -> Iterable[SplitStatistics]:
    counts = dataset.counts()
    for split, samples in (("train", dataset.train), ("query", dataset.query), ("gallery", dataset.gallery)):
        ignored = {JUNK_PID} | (dataset.distractor_pids if split == "gallery" else frozenset())
        sizes = sorted(Counter(sample.pid for sample in samples if sample.pid not in ignored).values()) or [0]
        cameras = len({sample.camid for sample in samples})
        yield SplitStatistics(split, len(samples), counts[f"{split}_ids"], cameras, sizes[0], median(sizes), sizes[-1])


def _repeated(*splits: Sequence[Sample]) -> list[str]:
    counts = [Counter(sample.path for sample in samples) for samples in splits]
    return sorted({path for counter in counts for path, count in counter.items() if count > 1})


def _shared_paths(train: Sequence[Sample], test: Sequence[Sample]) -> list[str]:
    return sorted({sample.path for sample in train} & {sample.path for sample in test})


def _shared_pids(dataset: ReIDDataset) -> list[str]:
    trained = {sample.pid for sample in dataset.train}
    tested = {sample.pid for sample in [*dataset.query, *dataset.gallery]}
    return [str(pid) for pid in sorted((trained & tested) - {JUNK_PID} - dataset.distractor_pids)]


def _leaked(query: Sequence[Sample], gallery: Sequence[Sample], protocol: Protocol) -> list[str]:
    """Queries that would find themselves: no rule of the protocol keeps them out."""
    if protocol.camera_rule or protocol.query_is_gallery:
        return []
    return _shared_paths(query, gallery)


def _unmatched(query: Sequence[Sample], gallery: Sequence[Sample], protocol: Protocol) -> list[str]:
    of_pid = Counter(sample.pid for sample in gallery)
    of_camera = Counter((sample.pid, sample.camid) for sample in gallery)
    unmatched = []
    for sample in query:
        if protocol.camera_rule:
            matches = of_pid[sample.pid] - of_camera[sample.pid, sample.camid]
        else:
            matches = of_pid[sample.pid] - protocol.query_is_gallery
        if matches < 1 or sample.pid == JUNK_PID:
            unmatched.append(sample.path)
    return unmatched


def _unreadable(paths: Sequence[str]) -> list[str]:
    """Paths with the reason; decoding releases the interpreter's lock, so threads share the work."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        reasons = list(
            tqdm(pool.map(_decode_error, paths), total=len(paths), desc="decoding", unit=" images", disable=None)
        )
    return [f"{path} ({reason})" for path, reason in zip(paths, reasons, strict=True) if reason]


def _decode_error(path: str) -> str:
    """Why an image cannot be read, empty if it can."""
    try:
        read_image(path)
    except UnreadableImage as error:
        return error.reason
    return ""
