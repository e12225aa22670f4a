"""A user's own images, listed in a table."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.numbering import numbered
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import JUNK_PID, Protocol
from fastreid_ext.data.sample import Sample

__all__ = ["ImageList"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_REQUIRED = ("path", "pid", "split")
_SPLITS = ("train", "query", "gallery")
Row = Mapping[str, Any]


@DATASETS.register()
class ImageList(ReIDDataset):
    """Images listed in a CSV, TSV or JSON-lines file with the columns path, pid, split and perhaps camid.

    Whole numbers as pids and camids are kept; any other texts are numbered from 0 in sorted order. Pid -1 is junk, also
    among texts.
    Without camids every image gets camera 0 and same-camera images count as matches.
    Where query and gallery are the same images and the camera rule is off, each image is a query against all others, as
    in CUB200: the protocol's `query_is_gallery` is on.

    Reference: none; this is the toolbox's own format.
    Counts: none are published.
    Layout: see `layout`. A list may hold any of the splits, but queries need a gallery.

    Args:
        root: folder of the data sets.
        path: the list, from the working directory or else from `root`: `ImageList:/data/mine.csv`. Images are found
            relative to its folder.
        camera_rule: whether gallery images of a query's own identity and camera are passed over; None: if there
            are camids.
        strict: whether missing images are an error.
    """

    layout: ClassVar[str] = (
        "<path>.csv | .tsv | .jsonl, the first two with a header:\n"
        "  path,pid,camid,split          split is train, query or gallery; camid may be left out altogether\n"
        "  images/a1.jpg,anna,entrance,train"
    )

    def __init__(self, root: Path, path: str, *, camera_rule: bool | None = None, strict: bool = True) -> None:
        super().__init__()
        source = self.locate(root, path)
        try:
            rows = [(number, self._checked(source, number, row)) for number, row in self._rows(source)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(
                f"{source.absolute()}: cannot be read: {error}. Save the list as text in UTF-8.{self._expected()}"
            ) from error
        if not rows:
            raise DatasetError(f"{source.absolute()}: the list holds no images.{self._expected()}")
        with_camera = [bool(row["camid"]) for _, row in rows]
        if any(with_camera) and not all(with_camera):
            raise self._wrong(source, rows[with_camera.index(False)][0], "no camid, though other lines have one")
        pids = numbered([row["pid"] for _, row in rows], lowest=JUNK_PID)
        camids = numbered([row["camid"] for _, row in rows], lowest=0)
        splits = dict(self._splits())
        for (_, row), pid, camid in zip(rows, pids, camids, strict=True):
            splits[row["split"]].append(Sample(str(source.parent / row["path"]), pid, camid))
        if bool(self.query) != bool(self.gallery):
            raise DatasetError(
                f"{source.absolute()}: queries need a gallery, and a gallery queries: one of them is empty."
            )
        rule = any(with_camera) if camera_rule is None else camera_rule
        same = bool(self.query) and Counter(self.query) == Counter(self.gallery)
        if same:
            # The protocol wants the same order, too.
            self.gallery = list(self.query)
        self.protocol = Protocol(camera_rule=rule, query_is_gallery=same and not rule)
        self.check(strict=strict)

    def _rows(self, path: Path) -> Iterator[tuple[int, Row]]:
        """Line numbers, from 1, and rows; empty lines are left out."""
        suffix = path.suffix.lower()
        if suffix not in (*_DELIMITERS, ".jsonl"):
            raise DatasetError(f"{path.absolute()}: a list ends in .csv, .tsv or .jsonl.{self._expected()}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            if suffix == ".jsonl":
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield number, self._json_row(path, number, line)
                return
            reader = csv.DictReader(file, delimiter=_DELIMITERS[suffix], skipinitialspace=True)
            for row in reader:
                if None in row or None in row.values():
                    raise self._wrong(path, reader.line_num, "has another number of fields than the header")
                yield reader.line_num, row

    def _json_row(self, path: Path, number: int, line: str) -> Row:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise self._wrong(path, number, f"is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise self._wrong(path, number, "is not a JSON object")
        return row

    def _checked(self, path: Path, number: int, row: Row) -> dict[str, str]:
        """The four fields as texts.

        Raises:
            DatasetError: a field is missing or empty, or the split unknown.
        """
        missing = [name for name in _REQUIRED if name not in row]
        if missing:
            raise self._wrong(path, number, f"no column {', '.join(missing)}; there are {', '.join(map(str, row))}")
        texts = {name: str(row[name]).strip() if row.get(name) is not None else "" for name in (*_REQUIRED, "camid")}
        empty = [name for name in _REQUIRED if not texts[name]]
        if empty:
            raise self._wrong(path, number, f"{', '.join(empty)} is empty")
        if texts["split"] not in _SPLITS:
            raise self._wrong(path, number, f"unknown split {texts['split']!r}; there are {', '.join(_SPLITS)}")
        return texts

    def _wrong(self, path: Path, number: int, what: str) -> DatasetError:
        return DatasetError(f"{path.absolute()}, line {number}: {what}.{self._expected()}")
