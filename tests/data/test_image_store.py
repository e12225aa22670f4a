"""Every store gives the same images, and the choice between them is reasoned."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fastreid_ext.config import get_cfg
from fastreid_ext.data.decode import decode
from fastreid_ext.data.image_store import (
    ImageStore,
    ImageStores,
    Rows,
    StreamingStore,
    TensorStore,
    bytes_needed,
    choice,
    choose_kind,
    streaming,
)

SIZE = (16, 8)
GIB = 2**30
BROKEN = {2: "the file is empty", 5: "no such file"}
CPU_KINDS = ("device", "mmap", "stream")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Nine pictures of all sorts, two of which cannot be read."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(9):
        image = Image.fromarray(rng.integers(0, 256, (20 + number, 12, 3), dtype=np.uint8))
        path = tmp_path / f"{number}.{'png' if number == 3 else 'jpg'}"
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 4 else 1
        image.convert("L" if number == 1 else "RGB").save(path, exif=exif)
        files.append(path)
    files[2].write_bytes(b"")
    files[5].unlink()
    return [str(path) for path in files]


@pytest.fixture
def stores(tmp_path: Path) -> Callable[..., ImageStores]:
    def make(kind: str = "auto", **options: Any) -> ImageStores:
        return ImageStores(kind, **{"folder": str(tmp_path / "cache"), "threads": 2, "progress": False, **options})

    return make


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    caplog.set_level(logging.INFO)


def fetched(store: ImageStore, indices: list[int]) -> Tensor:
    store.prepare(indices)
    images = store.fetch(indices)
    return (images.images[torch.from_numpy(images.rows)] if isinstance(images, Rows) else images).cpu()


def expected(paths: list[str], indices: list[int]) -> Tensor:
    return torch.stack([decode(paths[index], SIZE) for index in indices])


@pytest.mark.parametrize("kind", CPU_KINDS)
def test_pixels_and_errors(paths: list[str], stores: Callable[..., ImageStores], kind: str) -> None:
    store = stores(kind).get(paths, SIZE, label="tests")
    assert (len(store), store.kind, store.size, store.device.type) == (9, kind, SIZE, "cpu")
    store.prepare(range(9))
    assert {index: error.reason for index, error in store.unreadable.items()} == BROKEN
    assert {index: error.path for index, error in store.unreadable.items()} == {i: paths[i] for i in BROKEN}
    for indices in ([0, 1, 3, 4, 6, 7, 8], [8, 0, 8], [4]):
        assert torch.equal(fetched(store, indices), expected(paths, indices))
    assert len(fetched(store, [])) == 0


@pytest.mark.parametrize("kind", CPU_KINDS)
def test_part(paths: list[str], stores: Callable[..., ImageStores], kind: str) -> None:
    store = stores(kind).get(paths, SIZE, label="tests", part=slice(4, 8))
    store.prepare(range(4))
    assert (len(store), list(store.paths)) == (4, paths[4:8])
    assert {index: error.path for index, error in store.unreadable.items()} == {1: paths[5]}
    assert torch.equal(fetched(store, [3, 0]), expected(paths, [7, 4]))


@pytest.mark.parametrize("kind", CPU_KINDS)
@pytest.mark.parametrize("part", [slice(9, 12), slice(3, 3)])
def test_empty_part(paths: list[str], stores: Callable[..., ImageStores], kind: str, part: slice) -> None:
    store = stores(kind).get(paths, SIZE, label="tests", part=part)
    assert (len(store), len(fetched(store, [])), store.nbytes) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["auto", *CPU_KINDS])
def test_no_images(stores: Callable[..., ImageStores], kind: str) -> None:
    assert len(stores(kind).get([], SIZE, label="tests")) == 0


@pytest.mark.parametrize("kind", ["device", "mmap"])
def test_references_without_copies(paths: list[str], stores: Callable[..., ImageStores], kind: str) -> None:
    store = stores(kind).get(paths, SIZE, label="tests")
    assert isinstance(store, TensorStore)
    rows = store.fetch([4, 0, 4])
    assert isinstance(rows, Rows)
    assert rows.images.data_ptr() == store.data.data_ptr()
    assert rows.rows.tolist() == [4, 0, 4]


@pytest.mark.parametrize("kind", ["device", "mmap"])
def test_bytes_are_those_computed_beforehand(paths: list[str], stores: Callable[..., ImageStores], kind: str) -> None:
    assert bytes_needed(9, SIZE) == 9 * 3 * 16 * 8
    assert stores(kind).get(paths, SIZE, label="tests").nbytes == bytes_needed(9, SIZE)


def test_streaming_holds_the_last_images_alone(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counted(path: str, size: tuple[int, int]) -> Tensor:
        decoded.append(path)
        return decode(path, size)

    monkeypatch.setattr(streaming, "decode", counted)
    store = StreamingStore(paths, SIZE, threads=2)
    assert store.nbytes == 0
    store.prepare([0, 2, 0, 1])
    store.prepare([0, 3, 0, 1])
    store.fetch([0, 3, 0, 1])
    assert sorted(decoded) == [paths[0], paths[1], paths[2], paths[3]]
    assert store.nbytes == bytes_needed(3, SIZE)
    store.prepare([4])
    assert store.nbytes == bytes_needed(1, SIZE)
    store.fetch([3])
    assert decoded[-1] == paths[3]


def test_streaming_tries_again(paths: list[str]) -> None:
    store = StreamingStore(paths, SIZE)
    store.prepare([1, 2])
    assert list(store.unreadable) == [2]
    shutil.copy(paths[0], paths[2])
    assert torch.equal(fetched(store, [2]), expected(paths, [0]))
    assert store.unreadable == {}


def test_streaming_names_what_was_not_prepared(paths: list[str]) -> None:
    with pytest.raises(Exception, match="the file is empty"):
        StreamingStore(paths, SIZE).fetch([1, 2])


def test_an_error_while_streaming_comes_through(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: str, size: tuple[int, int]) -> Tensor:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(streaming, "decode", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        StreamingStore(paths, SIZE).prepare([0])


@pytest.fixture
def as_on_a_gpu(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> StreamingStore:
    """Goes the way of a GPU, on the CPU: the decoder takes lists there, too."""
    monkeypatch.setattr(streaming, "send", lambda images, size, device: images)
    return StreamingStore(paths, SIZE, threads=2)


def test_plain_jpegs_go_to_nvjpeg(
    paths: list[str], as_on_a_gpu: StreamingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu: list[str] = []

    def counted(path: str, size: tuple[int, int]) -> Tensor:
        on_cpu.append(path)
        return decode(path, size)

    monkeypatch.setattr(streaming, "decode", counted)
    Path(paths[7]).write_bytes(Path(paths[7]).read_bytes()[:-50])
    Image.open(paths[8]).convert("CMYK").save(paths[8])
    images = as_on_a_gpu._decode_on_gpu(range(9))
    assert sorted(on_cpu) == [paths[index] for index in (2, 3, 4, 5, 7, 8)]
    assert sorted(as_on_a_gpu.unreadable) == [2, 5, 7]
    assert sorted(images) == [0, 1, 3, 4, 6, 8]
    for index, image in images.items():
        assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, *SIZE))
        assert (image.int() - decode(paths[index], SIZE).int()).abs().float().mean() <= 1


def test_what_nvjpeg_refuses_goes_to_the_cpu(
    paths: list[str],
    as_on_a_gpu: StreamingStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("not compiled with nvJPEG")

    monkeypatch.setattr(streaming, "decode_jpeg", refuse)
    for _ in range(2):
        images = as_on_a_gpu._decode_on_gpu([0, 1, 2, 4])
        assert sorted(images) == [0, 1, 4]
        assert all(torch.equal(image, decode(paths[index], SIZE)) for index, image in images.items())
    assert len(caplog.messages) == 1
    assert "not compiled with nvJPEG" in caplog.text


@pytest.mark.parametrize("kind", CPU_KINDS)
def test_asked_again(
    paths: list[str], stores: Callable[..., ImageStores], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stores(kind)
    store = made.get(paths, SIZE, label="tests")
    part = made.get(paths, SIZE, label="tests", part=slice(0, 4))
    assert made.get(list(paths), (16, 8), label="evaluation", part=slice(0, 9)) is store
    assert made.get(paths, SIZE, label="tests", part=slice(0, 4)) is part is not store
    assert made.get(paths[::-1], SIZE, label="tests") is not store
    assert made.get(paths, (8, 8), label="tests") is not store


def test_from_config(tmp_path: Path, paths: list[str]) -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["DATALOADER.STORE", "mmap", "DATALOADER.STORE_DIR", str(tmp_path / "x")])
    cfg.DATALOADER.NUM_WORKERS = 3
    made = ImageStores.from_config(cfg, "cpu")
    assert (made.kind, made.threads) == ("mmap", 3)
    made.get(paths, SIZE, label="tests")
    assert len(list((tmp_path / "x").glob("tests-16x8-*.images"))) == 1


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match=r"DATALOADER\.STORE 'disk' is none of auto, device, pinned, mmap, stream"):
        ImageStores("disk")


def test_pinned_needs_a_gpu(paths: list[str], stores: Callable[..., ImageStores]) -> None:
    with pytest.raises(ValueError, match=r"DATALOADER\.STORE pinned .* 'cpu'"):
        stores("pinned").get(paths, SIZE, label="tests")


def test_log(
    paths: list[str],
    stores: Callable[..., ImageStores],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "available_memory", lambda: 70 * GIB)
    stores().get(paths, (512, 256), label="Market train")
    first, second = caplog.messages
    assert first == "Market train: 9 images of 512x256, 3.4 MiB, in host memory: 70.0 GiB of host memory free"
    assert second.startswith("Market train: decoded 9 images in ")
    assert second.endswith("images/s, 2 unreadable")


def test_log_of_mapped_files(
    paths: list[str], stores: Callable[..., ImageStores], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    stores("mmap").get(paths, SIZE, label="tests", part=slice(0, 2))
    assert f"in a mapped file in {tmp_path / 'cache'}: as DATALOADER.STORE asks" in caplog.messages[0]
    assert caplog.messages[1].startswith("tests: decoded 9 images")
    caplog.clear()
    stores("mmap").get(paths, SIZE, label="tests")
    (file,) = (tmp_path / "cache").glob("*.images")
    assert caplog.messages[1:] == [f"tests: nothing to decode, {file} is there"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def make(*, host: int = 0, disk: int = 0, gpu: int = 0) -> None:
        monkeypatch.setattr(choice, "available_memory", lambda: host * GIB)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=disk * GIB))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gpu * GIB, 80 * GIB))

    return make


@pytest.mark.parametrize(
    ("device", "processes", "host", "disk", "gpu", "kind", "figures"),
    [
        ("cpu", 1, 20, 0, 0, "device", "20.0 GiB of host memory free"),
        ("cpu", 1, 20, 99, 0, "device", "20.0 GiB"),
        ("cpu", 1, 19, 11, 0, "mmap", "more than half of 19.0 GiB of host memory free; 11.0 GiB free on the disk"),
        ("cpu", 1, 19, 10, 0, "stream", "10.0 GiB free in"),
        ("cpu", 2, 99, 11, 0, "mmap", "shared by the processes; 11.0 GiB free on the disk"),
        ("cpu", 2, 40, 10, 0, "device", "40.0 GiB of host memory for 2 processes free"),
        ("cpu", 2, 39, 10, 0, "stream", "more than half of 39.0 GiB of host memory for 2 processes free"),
        ("cuda", 1, 99, 99, 20, "device", "20.0 GiB free there"),
        ("cuda", 8, 0, 0, 20, "device", "20.0 GiB free there"),
        ("cuda", 1, 20, 99, 19, "pinned", "more than half of 19.0 GiB free on the GPU; 20.0 GiB of host memory free"),
        ("cuda", 2, 39, 99, 19, "mmap", "39.0 GiB of host memory for 2 processes; 99.0 GiB free on the disk"),
        ("cuda", 1, 19, 10, 19, "stream", "not enough room on the disk: 10.0 GiB free in"),
    ],
)
def test_choice(
    machine: Callable[..., None],
    tmp_path: Path,
    device: str,
    processes: int,
    host: int,
    disk: int,
    gpu: int,
    kind: str,
    figures: str,
) -> None:
    machine(host=host, disk=disk, gpu=gpu)
    chosen, reason = choose_kind(10 * GIB, device=device, processes=processes, folder=tmp_path)
    assert chosen == kind
    assert figures in reason


def test_a_part_in_memory_the_whole_on_disk(machine: Callable[..., None], tmp_path: Path) -> None:
    machine(host=1, disk=15)
    several: dict[str, Any] = {"device": "cpu", "processes": 2, "folder": tmp_path}
    assert choose_kind(10 * GIB, **several, file_bytes=20 * GIB)[0] == "stream"
    assert choose_kind(10 * GIB, **several, file_bytes=14 * GIB)[0] == "mmap"
    machine(host=1, disk=0)
    assert choose_kind(10 * GIB, **several, file_bytes=0)[0] == "mmap"


def test_folder_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choice, "available_memory", lambda: 0)
    assert choose_kind(1, device="cpu", processes=1, folder=tmp_path / "new" / "folder")[0] == "mmap"


def test_auto_goes_on_when_the_disk_is_full(
    machine: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    stores: Callable[..., ImageStores],
    paths: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    machine(disk=99)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    store = stores().get(paths, SIZE, label="tests", part=slice(3, 5))
    assert store.kind == "stream"
    assert torch.equal(fetched(store, [1, 0]), expected(paths, [4, 3]))
    (warning,) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert "No space left on device" in warning
    assert "decoded again for every batch" in warning


@needs_gpu
@pytest.mark.parametrize("kind", ["device", "pinned", "mmap", "stream"])
def test_on_a_gpu(paths: list[str], stores: Callable[..., ImageStores], kind: str) -> None:
    store = stores(kind, device="cuda").get(paths, SIZE, label="tests")
    store.prepare(range(9))
    assert {index: error.reason for index, error in store.unreadable.items()} == BROKEN
    for indices in ([0, 1, 3, 4, 6, 7, 8], [8, 0, 8]):
        batch = store.fetch(indices)
        assert isinstance(batch, Tensor)
        assert (batch.device.type, batch.dtype, tuple(batch.shape)) == ("cuda", torch.uint8, (len(indices), 3, 16, 8))
        difference = (fetched(store, indices).int() - expected(paths, indices).int()).abs().float()
        # nvJPEG has its own arithmetic, and pictures of pure noise show it.
        assert difference.mean() <= (6 if kind == "stream" else 0)
    assert store.fetch([]).shape == (0, 3, 16, 8)  # type: ignore[union-attr]


@needs_gpu
def test_pinned_memory_is_given_back(paths: list[str], stores: Callable[..., ImageStores]) -> None:
    store = stores("pinned", device="cuda").get(paths, SIZE, label="tests")
    assert isinstance(store, TensorStore)
    data = store.data
    assert data.is_pinned()
    assert store.nbytes == bytes_needed(9, SIZE)
    del store
    assert not data.is_pinned()
