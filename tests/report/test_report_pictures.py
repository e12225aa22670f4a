"""Small pictures: thumbnails, and images under activation maps."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.report.attention import Attention
from fastreid_ext.report.thumbnails import thumbnails


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image


def test_thumbnails_are_small_and_in_order(tmp_path: Path) -> None:
    sizes = {"tall.png": (40, 80), "wide.jpg": (90, 30), "tiny.png": (6, 9), "line.png": (400, 1)}
    for name, size in sizes.items():
        Image.new("RGB", size, (200, 30, 30)).save(tmp_path / name)
    Image.new("RGBA", (64, 64)).save(tmp_path / "clear.png")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "wide.jpg").read_bytes()[:200])
    names = [*sizes, "cut.jpg", "gone.jpg", "clear.png"]
    small, errors = thumbnails([str(tmp_path / name) for name in names], 32)
    assert [opened(each).size if each else None for each in small] == [
        *[(16, 32), (32, 11), (6, 9), (32, 1)],
        *[None, None],
        (32, 32),
    ]
    assert [Path(error.path).name for error in errors] == ["cut.jpg", "gone.jpg"]
    assert np.abs(np.asarray(opened(small[0]), int) - (200, 30, 30)).max() < 8


class Spot(nn.Module):
    """A model whose map is hot in the upper left corner."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 1, 1)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        hot = torch.zeros(len(batch["images"]), 3, 4, 4)
        hot[:, :, 0, 0] = 1
        return self.backbone(hot).mean((2, 3))


@pytest.fixture
def spot() -> nn.Module:
    model = Spot()
    nn.init.ones_(model.backbone.weight)
    nn.init.zeros_(model.backbone.bias)
    return model


def config(*options: Any) -> CfgNode:
    return load_config("", ["MODEL.DEVICE", "cpu", "INPUT.SIZE_TEST", [32, 32], *options])


def warm(data: bytes) -> np.ndarray[Any, Any]:
    """Where a picture has more red than blue."""
    pixels = np.asarray(opened(data), int)
    return np.asarray(pixels[..., 0] > pixels[..., 2])


def test_a_map_lies_over_its_image(spot: nn.Module, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("tall.png", "gone.png", "wide.png")]
    Image.new("RGB", (10, 20), (128, 128, 128)).save(paths[0])
    Image.new("RGB", (600, 300), (128, 128, 128)).save(paths[2])
    attention = Attention.of(config(), spot)
    assert isinstance(attention, Attention)
    tall, gone, wide = attention.pictures(paths)
    assert (opened(tall).size, gone, opened(wide).size) == ((128, 256), b"", (256, 128))
    for picture in (tall, wide):
        height, width = warm(picture).shape
        assert warm(picture)[: height // 8, : width // 8].all()
        assert not warm(picture)[height // 2 :].any() and not warm(picture)[:, width // 2 :].any()


def test_a_crop_has_the_map_of_its_own_place(spot: nn.Module, tmp_path: Path) -> None:
    path = str(tmp_path / "image.png")
    Image.new("RGB", (64, 64), (128, 128, 128)).save(path)
    attention = Attention.of(config("INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [16, 16]), spot)
    assert isinstance(attention, Attention)
    (picture,) = attention.pictures([path])
    # The corner of the middle.
    rows, columns = warm(picture).nonzero()
    assert rows.min() > 50 and rows.max() < 128 and columns.min() > 50 and columns.max() < 128


def test_a_model_without_a_map_says_why(spot: nn.Module) -> None:
    spot.map_parts = ("trunk",)  # type: ignore[assignment]
    assert Attention.of(config(), spot) == "Spot has no part trunk to take a map from"
