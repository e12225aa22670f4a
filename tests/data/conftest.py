"""Tiny data sets made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

MakeFiles = Callable[[Sequence[str]], None]
WriteLines = Callable[[str, Sequence[str]], Path]


@pytest.fixture
def make_files(tmp_path: Path) -> MakeFiles:
    """Makes empty files below `tmp_path`, with their folders."""

    def make(names: Sequence[str]) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


@pytest.fixture
def write_lines(tmp_path: Path) -> WriteLines:
    """Writes a text file of these lines below `tmp_path`."""

    def write(name: str, lines: Sequence[str]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write
