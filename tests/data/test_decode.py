"""Files to tensors: against PIL, damaged ones, and many at once."""

from __future__ import annotations

import _thread
import io
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastreid_ext.data import decode as module
from fastreid_ext.data.decode import decode, decode_into
from fastreid_ext.data.image import UnreadableImage, read_image

# Levels of 255, as the docstring states.
CLOSE = 0.23


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth shades with edges, texture and noise, in colour."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    values = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    y, x = np.mgrid[:height, :width]
    values += 40 * np.sin(x / 3 + seed)[..., None] * (y > height / 3)[..., None]
    values[height // 4 : height // 2, width // 3 : width // 2] = rng.integers(0, 256, 3)
    values += rng.normal(0, 6, values.shape)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def reference(path: Path, size: tuple[int, int]) -> NDArray[np.int64]:
    """PIL's picture, resized by PIL."""
    image = read_image(path).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1).astype(np.int64)


def difference(path: Path, size: tuple[int, int]) -> float:
    image = decode(path, size)
    assert (image.dtype, tuple(image.shape), image.is_contiguous()) == (torch.uint8, (3, *size), True)
    return float(np.abs(image.numpy().astype(np.int64) - reference(path, size)).mean())


@pytest.mark.parametrize("size", [(256, 128), (64, 32), (128, 64), (100, 77), (31, 211), (384, 128)])
@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 60, "progressive": True}, {"subsampling": 0}])
def test_jpeg_as_pil(tmp_path: Path, size: tuple[int, int], options: dict[str, Any]) -> None:
    differences = []
    for seed, (height, width) in enumerate([(128, 64), (480, 320), (200, 133), (61, 37)]):
        path = tmp_path / f"{seed}.jpg"
        photograph(height, width, seed).save(path, **options)
        differences.append(difference(path, size))
    assert max(differences) <= CLOSE


def test_no_resize_where_the_size_fits(tmp_path: Path) -> None:
    photograph(48, 24).save(tmp_path / "a.jpg")
    photograph(48, 24).save(tmp_path / "a.png")
    assert difference(tmp_path / "a.jpg", (48, 24)) == 0
    assert difference(tmp_path / "a.png", (48, 24)) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph(60, 40).save(tmp_path / "a.jpg", exif=exif)
    assert difference(tmp_path / "a.jpg", (64, 32)) <= CLOSE


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_that_is_not_rgb(tmp_path: Path, mode: str) -> None:
    photograph(60, 40).convert(mode).save(tmp_path / "a.jpg")
    assert difference(tmp_path / "a.jpg", (64, 32)) <= CLOSE
    assert difference(tmp_path / "a.jpg", (60, 40)) == 0


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tiff"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    photograph(60, 40).save(tmp_path / f"a.{suffix}")
    assert difference(tmp_path / f"a.{suffix}", (64, 32)) <= CLOSE


def test_palette_with_transparency(tmp_path: Path) -> None:
    photograph(60, 40).quantize(32).save(tmp_path / "a.png", transparency=3)
    assert difference(tmp_path / "a.png", (64, 32)) <= CLOSE


def test_sixteen_bits(tmp_path: Path) -> None:
    grey = np.asarray(photograph(60, 40).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert difference(tmp_path / "a.png", (64, 32)) <= CLOSE


def test_suffix_means_nothing(tmp_path: Path) -> None:
    photograph(60, 40).save(tmp_path / "a.png", format="JPEG")
    photograph(60, 40).save(tmp_path / "a.jpg", format="PNG")
    assert difference(tmp_path / "a.png", (64, 32)) <= CLOSE
    assert difference(tmp_path / "a.jpg", (64, 32)) <= CLOSE


def jpeg_bytes(seed: int = 0) -> bytes:
    file = io.BytesIO()
    photograph(60, 40, seed).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no image",
        jpeg_bytes()[:4],
        jpeg_bytes()[:100],
        jpeg_bytes()[: len(jpeg_bytes()) // 2],
        jpeg_bytes()[:-90],
    ],
    ids=["empty", "text", "start of a JPEG", "header of a JPEG", "half a JPEG", "JPEG without its end"],
)
def test_damaged_as_read_image(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(damaged)
    with pytest.raises(UnreadableImage) as expected:
        read_image(path)
    with pytest.raises(UnreadableImage) as error:
        decode(path, (64, 32))
    assert (error.value.path, error.value.reason) == (str(path), expected.value.reason)


def test_missing_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="no such file"):
        decode(tmp_path / "a.jpg", (64, 32))
    with pytest.raises(UnreadableImage, match="IsADirectoryError"):
        decode(tmp_path, (64, 32))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """More than one chunk of work."""
    paths = [tmp_path / f"{number}.jpg" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg_bytes(number))
    return [str(path) for path in paths]


@pytest.mark.parametrize("threads", [1, 3])
def test_many(files: list[str], threads: int) -> None:
    Path(files[3]).write_bytes(b"")
    Path(files[37]).unlink()
    out = torch.full((40, 3, 16, 8), 7, dtype=torch.uint8)
    unreadable = decode_into(out, files, threads=threads, progress=False)
    assert [(number, str(error)) for number, error in unreadable.items()] == [
        (3, f"{files[3]}: the file is empty"),
        (37, f"{files[37]}: no such file"),
    ]
    for number, path in enumerate(files):
        expected = torch.zeros(3, 16, 8) if number in unreadable else decode(path, (16, 8))
        assert torch.equal(out[number], expected)


def test_nothing_to_decode() -> None:
    assert decode_into(torch.empty(0, 3, 4, 4, dtype=torch.uint8), [], threads=2, progress=False) == {}


def test_other_errors_end_it(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(path: str, size: tuple[int, int]) -> Tensor:
        calls.append(path)
        time.sleep(0.01)
        raise MemoryError("a bug")

    monkeypatch.setattr(module, "decode", broken)
    with pytest.raises(MemoryError, match="a bug"):
        decode_into(torch.empty(4000, 3, 4, 4, dtype=torch.uint8), files * 100, threads=1, progress=False)
    assert len(calls) < 100


def test_interrupt_ends_it(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: str, size: tuple[int, int]) -> Tensor:
        time.sleep(0.005)
        done.append(path)
        return torch.zeros(3, *size, dtype=torch.uint8)

    monkeypatch.setattr(module, "decode", slow)
    done: list[str] = []
    ended = threading.Event()

    def interrupt() -> None:
        # Python drops an interrupt that reaches it in the middle of a finaliser: people press the keys again.
        while not ended.wait(2.0 if done else 0.1):
            if done:
                _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    # A test before may have left another handler.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        decode_into(torch.empty(8000, 3, 4, 4, dtype=torch.uint8), files * 200, threads=2, progress=False)
    except KeyboardInterrupt:
        ended.set()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert ended.is_set()
    assert len(done) < 8000
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_onto_a_gpu(files: list[str]) -> None:
    Path(files[3]).write_bytes(b"")
    host, device = (torch.ones(40, 3, 16, 8, dtype=torch.uint8, device=name) for name in ("cpu", "cuda"))
    expected = decode_into(host, files, threads=2, progress=False)
    assert list(decode_into(device, files, threads=2, progress=False)) == list(expected) == [3]
    assert torch.equal(device.cpu(), host)


def test_without_torchvisions_decoder_pil_decodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg_bytes())
    before = decode(path, (40, 20)).int()
    monkeypatch.setattr("fastreid_ext.data.decode.decode_jpeg", None)
    assert (decode(path, (40, 20)).int() - before).abs().float().mean() <= 1
