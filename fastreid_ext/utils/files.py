"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = ["atomic_write", "cache_folder", "check_writable", "write_json"]


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` that replaces it when the block ends without an error.

    A full disk, a crash or a kill leaves the old file as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; results are for whoever may read the folder.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def check_writable(path: str | os.PathLike[str], option: str) -> None:
    """Whether a file can be written there, found out before hours of work.

    Args:
        path: of the file.
        option: by which a user named it, for the message.

    Raises:
        OSError: it cannot, or there is a folder of that name.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{option} {path}: it is a folder, name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(f"{option} {path} cannot be written: {error}") from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def cache_folder(kind: str) -> Path:
    """`$FASTREID_CACHE`, else the user's cache folder, and in it `fastreid_ext/<kind>`; it may not be there yet."""
    cache = os.environ.get("FASTREID_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "fastreid_ext" / kind
