"""Mapped files: reused, made anew, shared, whole or not there."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fastreid_ext.data import decode as decoding
from fastreid_ext.data.decode import decode
from fastreid_ext.data.image_store import StoreFolderError, TensorStore, mapped, mapped_store
from fastreid_ext.data.image_store.mapped import default_folder, map_file

SIZE = (16, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    files = [tmp_path / f"{number}.jpg" for number in range(20)]
    for number, file in enumerate(files):
        save(file, number)
    return [str(file) for file in files]


def save(file: Path | str, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were decoded into a file so far."""
    calls: list[str] = []
    original = decode

    def counted(path: str, size: tuple[int, int]) -> Tensor:
        calls.append(path)
        return original(path, size)

    monkeypatch.setattr(decoding, "decode", counted)
    return calls


def opened(paths: list[str], folder: Path, size: tuple[int, int] = SIZE, **options: Any) -> TensorStore:
    return mapped_store(paths, size, label="tests", folder=folder, progress=False, **options)


def check(store: TensorStore, paths: list[str]) -> None:
    for number, path in enumerate(paths):
        if number not in store.unreadable:
            assert torch.equal(store.data[number], decode(path, SIZE))


def test_reused(paths: list[str], folder: Path, decoded: list[str]) -> None:
    check(opened(paths, folder), paths)
    assert sorted(decoded) == sorted(paths)
    check(opened(paths, folder), paths)
    relative = [os.path.relpath(path) for path in paths]
    check(opened(relative, folder), paths)
    assert len(decoded) == 20
    assert sorted(file.suffix for file in folder.iterdir()) == [".images", ".lock"]


def test_mapping_makes_no_noise(paths: list[str], folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torchvision")
        opened(paths, folder)
        opened(paths, folder)


@pytest.mark.parametrize("change", ["bytes", "time", "removed"])
def test_made_anew_when_a_file_changes(
    paths: list[str],
    folder: Path,
    decoded: list[str],
    change: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    caplog.set_level(logging.INFO)
    before = opened(paths, folder)
    old = before.data[3].clone()
    status = Path(paths[3]).stat()
    if change == "bytes":
        Path(paths[3]).write_bytes(Path(paths[4]).read_bytes() + b"longer")
        os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    else:
        Path(paths[3]).unlink()
    decoded.clear()
    after = opened(paths, folder)
    assert len(decoded) == 20
    assert list(after.unreadable) == ([3] if change == "removed" else [])
    assert caplog.text.count(".images is made anew: image files have changed") == 1
    check(after, paths)
    assert torch.equal(before.data[3], old)
    assert len(list(folder.glob("*.images"))) == 1


def test_other_lists_and_sizes_have_other_files(paths: list[str], folder: Path) -> None:
    opened(paths, folder)
    opened(paths[:-1], folder)
    opened(paths[::-1], folder)
    opened(paths, folder, (8, 8))
    assert len(list(folder.glob("*.images"))) == 4


def test_unreadable_ones_are_remembered(paths: list[str], folder: Path, decoded: list[str]) -> None:
    Path(paths[3]).write_bytes(b"")
    Path(paths[7]).unlink()
    for _ in range(2):
        store = opened(paths, folder)
        assert {number: str(error) for number, error in store.unreadable.items()} == {
            3: f"{paths[3]}: the file is empty",
            7: f"{paths[7]}: no such file",
        }
        assert not store.data[3].any()
        part = opened(paths, folder, part=slice(5, 10))
        assert list(part.unreadable) == [2]
        check(part, paths[5:10])
    assert len(decoded) == 20


def test_unreadable_ones_are_tried_again(
    paths: list[str], folder: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was away for a moment: the file's size and time are what they were."""
    status, content = Path(paths[3]).stat(), Path(paths[3]).read_bytes()
    Path(paths[3]).write_bytes(bytes(len(content)))
    os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(opened(paths, folder).unreadable) == [3]
    Path(paths[3]).write_bytes(content)
    os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))
    decoded.clear()
    store = opened(paths, folder)
    assert store.unreadable == {}
    check(store, paths)
    assert len(decoded) == 20


def shorten(content: bytes) -> bytes:
    return content[:-1]


def lengthen(content: bytes) -> bytes:
    return content + b"x"


def empty(content: bytes) -> bytes:
    return b""


def without_pixels(content: bytes) -> bytes:
    return content[1000:]


def other_version(content: bytes) -> bytes:
    return content.replace(b'"version": 1', b'"version": 0')


def no_json(content: bytes) -> bytes:
    return content.replace(b'"version": 1', b'"version"; 1')


def unknown_key(content: bytes) -> bytes:
    return content.replace(b'"version": 1', b'"varsion": 1')


@pytest.mark.parametrize(
    "damage", [shorten, lengthen, empty, without_pixels, other_version, no_json, unknown_key], ids=lambda f: f.__name__
)
def test_damaged_files_are_made_anew(
    paths: list[str], folder: Path, decoded: list[str], damage: Callable[[bytes], bytes]
) -> None:
    opened(paths, folder)
    (file,) = folder.glob("*.images")
    whole = file.read_bytes()
    assert damage(whole) != whole
    file.write_bytes(damage(whole))
    decoded.clear()
    check(opened(paths, folder), paths)
    assert len(decoded) == 20
    assert file.read_bytes() == whole


def _open_at_once(paths: list[str], folder: Path, barrier: Any, results: Any) -> None:
    messages: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("fastreid_ext")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        barrier.wait()
        results.put((opened(paths, folder).data.numpy().tobytes(), messages))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_processes_make_it_once(paths: list[str], folder: Path) -> None:
    many = paths * 40
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2, timeout=60), context.Queue()
    other = context.Process(target=_open_at_once, args=(many, folder, barrier, results))
    other.start()
    _open_at_once(many, folder, barrier, results)
    (pixels, messages), (other_pixels, other_messages) = (results.get(timeout=60) for _ in range(2))
    other.join()
    assert pixels == other_pixels == opened(many, folder).data.numpy().tobytes()
    assert sum("decoded 800 images" in message for message in messages + other_messages) == 1


def test_the_others_wait(paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    folder.mkdir()
    file = map_file(paths, SIZE, label="tests", folder=folder)
    lock = FileLock(f"{file}.lock")
    lock.acquire()
    said: list[str] = []

    class Logger:
        def info(self, message: str) -> None:
            said.append(message)
            if "waiting" in message:
                lock.release()

    monkeypatch.setattr(mapped, "get_logger", lambda name: Logger())
    opened(paths, folder)
    assert said == [f"tests: waiting for the process that decodes them into {file}"]


_BUILD = """
import sys, time
from fastreid_ext.data import decode as decoding
from fastreid_ext.data.image_store import mapped_store
folder, *paths = sys.argv[1:]
original, calls = decoding.decode, []
def slow(path, size):
    calls.append(path)
    if len(calls) == 15:
        print("half", flush=True)
        time.sleep(60)
    return original(path, size)
decoding.decode = slow
mapped_store(paths, (16, 8), label="tests", folder=folder, progress=False)
"""


def test_killed_in_the_middle(paths: list[str], folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _BUILD, str(folder), *paths], stdout=subprocess.PIPE, text=True, env=_environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert sorted(file.suffix for file in folder.iterdir()) == [".lock", ".partial"]
    check(opened(paths, folder), paths)
    assert sorted(file.suffix for file in folder.iterdir()) == [".images", ".lock"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_no_room(paths: list[str], folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreFolderError) as error:
            opened(paths, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"of decoded images cannot be kept in {folder} (File too large)" in str(error.value)
    assert [file.suffix for file in folder.iterdir()] == [".lock"]


def test_full_disk(paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(StoreFolderError) as error:
        opened(paths * 1000, folder)
    message = str(error.value)
    for part in (
        "tests",
        "7.3 MiB",
        str(folder),
        "No space left on device",
        "DATALOADER.STORE ",
        "DATALOADER.STORE_DIR",
    ):
        assert part in message
    assert [file.suffix for file in folder.iterdir()] == [".lock"]


def test_file_system_without_reservations(paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    check(opened(paths, folder), paths)


def test_folder_that_cannot_be_made(paths: list[str], folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(StoreFolderError, match=r"cannot be kept in .*cache .*DATALOADER.STORE_DIR"):
        opened(paths, folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_without_permission(paths: list[str], folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreFolderError, match="Permission denied"):
        opened(paths, folder)


def test_an_interrupt_leaves_nothing(paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: str, size: tuple[int, int]) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(paths, folder)
    assert [file.suffix for file in folder.iterdir()] == [".lock"]


def test_pages_are_shared(paths: list[str], folder: Path) -> None:
    """Two mappings of a large file do not take its bytes of private memory."""
    first, second = opened(paths * 500, folder), opened(paths * 500, folder)
    first.data.sum(), second.data.sum()
    maps = Path("/proc/self/smaps")
    if not maps.exists():
        pytest.skip("needs Linux")
    private, inside = 0, False
    for line in maps.read_text().splitlines():
        key = line.split(maxsplit=1)[0]
        if not key.endswith(":"):
            inside = line.endswith(".images")
        elif inside and key in ("Private_Dirty:", "Anonymous:"):
            private += int(line.split()[1])
    assert private == 0


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTREID_CACHE", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own/fastreid_ext/images"
    monkeypatch.delenv("FASTREID_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert default_folder() == tmp_path / "user/fastreid_ext/images"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache/fastreid_ext/images"


def test_name_of_the_file(tmp_path: Path) -> None:
    name = map_file(["a", "b"], (256, 128), label="Market1501+MSMT17 train/x", folder=tmp_path).name
    assert name.startswith("Market1501+MSMT17_train_x-256x128-")
    assert name.endswith(".images")


def test_what_the_file_says(paths: list[str], folder: Path) -> None:
    opened(paths, folder)
    (file,) = folder.glob("*.images")
    content = file.read_bytes()
    pixels = 20 * 3 * 16 * 8
    meta = json.loads(content[pixels:-16])
    assert (meta["version"], meta["count"], meta["size"], meta["unreadable"]) == (1, 20, [16, 8], {})


def _environment() -> dict[str, str]:
    root = str(Path(decoding.__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
