"""Files are written whole or not at all."""

import errno
import json
from pathlib import Path

import pytest

from fastreid_ext.utils.files import atomic_write, write_json


def test_writes_and_replaces(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"x": 1})
    write_json(tmp_path / "new" / "a.json", {"x": 2})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"x": 2}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.json"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space"), atomic_write(path) as file:
        file.write("half of the n")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_readable_like_any_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "atomic") as file:
        file.write("x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode
