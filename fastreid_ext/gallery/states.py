"""What is remembered of an image's file, and of the files of a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FileState", "State"]


@dataclass(frozen=True)
class FileState:
    """By which a changed file is known: bytes, and nanoseconds of its last change."""

    size: int
    mtime: int

    @classmethod
    def of(cls, path: str) -> FileState:
        """Of a file; of one that is not there, a state that no file has."""
        try:
            found = Path(path).stat()
        # Of a name that no file can have, too.
        except (OSError, ValueError):
            return cls(-1, -1)
        return cls(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class State:
    """What readers open.

    Attributes:
        vectors: name of their file.
        rows: of it that are committed.
        index: what is known of the index; None where there is none.
    """

    vectors: str
    rows: int
    index: dict[str, Any] | None
