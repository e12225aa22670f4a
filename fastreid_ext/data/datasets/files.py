"""Listing and reading the files of a data set, in an order that no file system changes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["IMAGE_SUFFIXES", "image_files", "image_paths", "missing_files", "text_lines"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
"""Endings of the names of image files, in lower or upper case."""


def image_files(folder: Path) -> list[str]:
    """Names of the image files in `folder`, by suffix, sorted; hidden files are left out."""
    return _images(_names(folder))


def image_paths(folder: Path) -> list[str]:
    """Paths of the image files in `folder` and below it, relative to it, with "/" between their parts, sorted.

    Links to folders are followed, hidden files and folders left out; a folder that links lead to again counts once.
    """
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (real := Path(place).resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        below = Path(place).relative_to(folder).as_posix()
        found += [name if below == "." else f"{below}/{name}" for name in _images(names)]
    return sorted(found)


def missing_files(paths: Iterable[str]) -> list[str]:
    """Those of `paths` that do not exist, in their order; each folder is read once, which is quick on network disks."""
    listed: dict[str, frozenset[str]] = {}
    missing = []
    for path in dict.fromkeys(paths):
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = _names(Path(folder)) if Path(folder).is_dir() else frozenset()
        if name not in listed[folder]:
            missing.append(path)
    return missing


def text_lines(path: Path) -> list[str]:
    """Lines of a text file without surrounding blanks; empty lines are left out.

    Bytes that are no UTF-8 are replaced: some lists carry descriptions in other encodings, of which nothing is used.
    """
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _images(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."))


def _names(folder: Path) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)
