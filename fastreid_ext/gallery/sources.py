"""Images to add to a gallery: those of folders, of tables, of data sets."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from fastreid_ext.data.datasets.market_layout import market_samples
from fastreid_ext.gallery.errors import GalleryError
from fastreid_ext.gallery.item import Item, Label
from fastreid_ext.inference import images_in

__all__ = ["LAYOUTS", "items_of"]

LAYOUTS = ("none", "market")
"""What names of files in folders say: nothing, or identity and camera as Market-1501's do."""

_COLUMNS = ("path", "pid", "camid")
_WHOLE = re.compile(r"-?\d{1,18}")


def items_of(sources: Iterable[str], *, layout: str = "none") -> Iterator[Item]:
    """Images of folders and what is below them, of single files, and of tables.

    A table is a .csv with the columns path and perhaps pid and camid; paths are relative to its folder, other columns
    passed over.

    Args:
        sources: folders and files.
        layout: of the names of files in folders; one of `LAYOUTS`. "market" leaves out junk (pid -1), as the data sets
            do.

    Raises:
        GalleryError: a source is not there or has no images, a table cannot be read, or the layout is unknown.
        DatasetError: a name is not in the layout.
    """
    if layout not in LAYOUTS:
        raise GalleryError(f"unknown layout '{layout}': choose one of {', '.join(LAYOUTS)}")
    found = []
    for source in map(Path, sources):
        if source.is_dir():
            found.append(_of_folder(source, layout))
        elif not source.is_file():
            raise GalleryError(f"no folder, image or table {source.absolute()}")
        else:
            found.append(_of_table(source) if source.suffix.lower() == ".csv" else iter([_item(source)]))
    return chain.from_iterable(found)


def _of_folder(folder: Path, layout: str) -> Iterator[Item]:
    paths = images_in(folder)
    if not paths:
        raise GalleryError(f"no images in {folder.absolute()} and below")
    if layout == "none":
        return map(_item, map(Path, paths))
    folders = dict.fromkeys(Path(path).parent for path in paths)
    samples = chain.from_iterable(map(market_samples, folders))
    return (_item(Path(sample.path), sample.pid, sample.camid) for sample in samples)


def _of_table(table: Path) -> Iterator[Item]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if "path" not in (reader.fieldnames or ()):
                raise GalleryError(
                    f"{table.absolute()}: no column path; its first line names the columns: {','.join(_COLUMNS)}"
                )
            for row in reader:
                if not row["path"]:
                    raise GalleryError(f"{table.absolute()}, line {reader.line_num}: path is empty")
                yield _item(table.parent / row["path"], _label(row.get("pid")), _label(row.get("camid")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise GalleryError(f"{table.absolute()} cannot be read: {error}. Save it as text in UTF-8.") from error


def _item(path: Path, pid: Label = None, camid: Label = None) -> Item:
    # The gallery may be asked from another working directory; and by one name an image is known.
    return Item(os.path.abspath(path), pid, camid)  # noqa: PTH100  # links are to stay


def _label(text: str | None) -> Label:
    text = (text or "").strip()
    return int(text) if _WHOLE.fullmatch(text) else text or None
