"""Image files of all sorts, whole and damaged."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fastreid_ext.data.image import UnreadableImage, read_image

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
CORNERS = ((RED, GREEN), (BLUE, WHITE))


def corners(scale: int = 1) -> Image.Image:
    """Red, green, blue and white squares, which tell every turn and mirror image from the others."""
    pixels = np.asarray(CORNERS, dtype=np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(pixels)


def read(path: Path) -> NDArray[np.uint8]:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def read_saved(image: Image.Image, path: Path, **options: Any) -> list[list[tuple[int, ...]]]:
    image.save(path, **options)
    return [[tuple(pixel) for pixel in row] for row in read(path).tolist()]


def grey(*values: int) -> list[list[tuple[int, int, int]]]:
    return [[(value, value, value) for value in values]]


@pytest.mark.parametrize("as_string", [False, True])
def test_jpeg(tmp_path: Path, as_string: bool) -> None:
    path = tmp_path / "image.jpg"
    corners(16).save(path, quality=95, subsampling=0)
    image = read_image(str(path) if as_string else path)
    assert (image.mode, image.size) == ("RGB", (32, 32))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(path)))
    assert np.abs(np.asarray(image, dtype=int) - np.asarray(corners(16), dtype=int)).mean() < 5


def test_image_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    corners().save(path)
    image = read_image(path)
    path.unlink()
    assert image.getpixel((1, 0)) == GREEN


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_rgb(tmp_path: Path, suffix: str) -> None:
    image = corners(8)
    read_saved(image, tmp_path / f"image.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read(tmp_path / f"image.{suffix}"), np.asarray(image))


def test_transparent_is_black(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((255, 0, 51)):
        image.putpixel((x, 0), (250, 100, 50, alpha))
    assert read_saved(image, tmp_path / "image.png") == [[(250, 100, 50), BLACK, (50, 20, 10)]]


def test_grey_with_transparency(tmp_path: Path) -> None:
    image = Image.new("LA", (3, 1))
    for x, alpha in enumerate((255, 0, 51)):
        image.putpixel((x, 0), (200, alpha))
    assert read_saved(image, tmp_path / "image.png") == grey(200, 0, 40)


def test_grey(tmp_path: Path) -> None:
    assert read_saved(Image.fromarray(np.array([[0, 17, 255]], np.uint8)), tmp_path / "image.png") == grey(0, 17, 255)


def test_one_bit(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1")
    assert read_saved(image, tmp_path / "image.png") == grey(0, 255, 0)


def palette() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    for x in range(3):
        image.putpixel((x, 0), 2 - x)
    return image


def test_palette(tmp_path: Path) -> None:
    assert read_saved(palette(), tmp_path / "image.png") == [[(70, 80, 90), (40, 50, 60), (10, 20, 30)]]


@pytest.mark.parametrize("transparency", [1, bytes((255, 0, 255))])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    pixels = read_saved(palette(), tmp_path / "image.png", transparency=transparency)
    assert pixels == [[(70, 80, 90), BLACK, (10, 20, 30)]]


def test_transparent_colour(tmp_path: Path) -> None:
    pixels = read_saved(corners(), tmp_path / "image.png", transparency=GREEN)
    assert pixels == [[RED, BLACK], [BLUE, WHITE]]


def test_cmyk(tmp_path: Path) -> None:
    image = Image.new("CMYK", (2, 1))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 0))
    assert read_saved(image, tmp_path / "image.tiff") == [[WHITE, (0, 255, 255)]]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = read_saved(ink, tmp_path / "image.jpg", quality=95)
    np.testing.assert_allclose(pixels[8][8], RED, atol=4)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(np.array([[0, 257, 25700, 65000, 65535]], np.uint16))
    assert image.mode == "I;16"
    assert read_saved(image, tmp_path / f"image.{suffix}") == grey(0, 1, 100, 253, 255)


def test_dark_sixteen_bits_stay_dark(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 100, 255]], np.uint16))
    assert read_saved(image, tmp_path / "image.png") == grey(0, 0, 1)


@pytest.mark.parametrize(("values", "expected"), [([0, 25700, 65535], (0, 100, 255)), ([0, 100, 255], (0, 100, 255))])
def test_thirty_two_bits(tmp_path: Path, values: list[int], expected: tuple[int, ...]) -> None:
    assert read_saved(Image.fromarray(np.array([values], np.int32)), tmp_path / "image.tiff") == grey(*expected)


@pytest.mark.parametrize(
    ("values", "expected"), [([0.0, 0.4, 1.0], (0, 102, 255)), ([0.0, 102.0, 300.0], (0, 102, 255))]
)
def test_fractions(tmp_path: Path, values: list[float], expected: tuple[int, ...]) -> None:
    assert read_saved(Image.fromarray(np.array([values], np.float32)), tmp_path / "image.tiff") == grey(*expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fractions_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    path = tmp_path / "image.tiff"
    Image.fromarray(np.array([[0.5, value]], np.float32)).save(path)
    with pytest.raises(UnreadableImage, match="not finite"):
        read_image(path)


# How an image must be stored for each orientation tag to be shown as `corners()`.
STORED = {
    1: ((RED, GREEN), (BLUE, WHITE)),
    2: ((GREEN, RED), (WHITE, BLUE)),
    3: ((WHITE, BLUE), (GREEN, RED)),
    4: ((BLUE, WHITE), (RED, GREEN)),
    5: ((RED, BLUE), (GREEN, WHITE)),
    6: ((GREEN, WHITE), (RED, BLUE)),
    7: ((WHITE, GREEN), (BLUE, RED)),
    8: ((BLUE, RED), (WHITE, GREEN)),
}


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.asarray(STORED[orientation], np.uint8))
    assert read_saved(stored, tmp_path / f"image.{suffix}", exif=exif) == [list(row) for row in CORNERS]


def test_orientation_of_a_jpeg(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "image.jpg"
    Image.new("RGB", (32, 16), RED).save(path, exif=exif)
    assert read_image(path).size == (16, 32)


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "missing.jpg"
    with pytest.raises(UnreadableImage) as error:
        read_image(path)
    assert (error.value.path, error.value.reason) == (str(path), "no such file")


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(UnreadableImage) as error:
        read_image(str(path))
    assert (error.value.path, error.value.reason) == (str(path), "the file is empty")


def test_text_file(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("not found")
    with pytest.raises(UnreadableImage, match=rf"{path}: not an image"):
        read_image(path)


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"IsADirectoryError|PermissionError"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_file_that_is_cut_short(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 32, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UnreadableImage) as error:
        read_image(path)
    assert error.value.path == str(path)
    assert error.value.reason
    assert str(error.value) == f"{path}: {error.value.reason}"


def test_corrupt_png(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 32, 3), np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match=r"image\.png: \w+"):
        read_image(path)


@pytest.mark.filterwarnings("ignore:.*(EXIF|Tag data)")
def test_any_damaged_byte_is_read_or_refused(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    corners(8).save(source, exif=exif)
    data = source.read_bytes()
    path = tmp_path / "image.jpg"
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes((data[place] ^ 0xFF,)) + data[place + 1 :])
        try:
            assert read_image(path).mode == "RGB"
        except UnreadableImage as error:
            assert error.path == str(path)


def test_image_too_large_to_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.png"
    corners(32).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="DecompressionBomb"):
        read_image(path)


def test_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a.jpg", "not an image")))
    assert type(error) is UnreadableImage
    assert (error.path, error.reason, str(error)) == ("a.jpg", "not an image", "a.jpg: not an image")
