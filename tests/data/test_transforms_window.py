"""The window against torchvision's pad, crop and flip, one image at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fastreid_ext.config import get_cfg
from fastreid_ext.data.transforms.base import Params, choose
from fastreid_ext.data.transforms.window import PadCropFlip

SIZE = (24, 12)
MODES = ["constant", "edge", "reflect", "symmetric"]


def pictures(count: int, size: tuple[int, int] = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def reference(image: Tensor, params: Params, place: int, padding: int, mode: str) -> Tensor:
    """One image, by torchvision."""
    height, width = image.shape[-2:]
    padded = functional.pad(image, [padding], padding_mode=mode) if padding else image
    window = functional.crop(padded, int(params["top"][place]), int(params["left"][place]), height, width)
    return functional.horizontal_flip(window) if params["flip"][place] else window


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("size", [SIZE, (7, 5)])
def test_equals_torchvision_image_by_image(mode: str, padding: int, size: tuple[int, int]) -> None:
    images = pictures(60, size)
    transform = PadCropFlip(padding=padding, mode=mode)
    params = transform.draw(np.random.default_rng(0), 60, size)
    expected = torch.stack([reference(image, params, i, padding, mode) for i, image in enumerate(images)])
    assert torch.equal(transform.apply(images, params), expected)
    assert torch.equal(transform.gather(images, params), expected)


def test_every_corner_of_the_border() -> None:
    images = pictures(2)
    transform = PadCropFlip(padding=5)
    for top in (0, 5, 10):
        for left in (0, 5, 10):
            params = {"top": np.array([top] * 2), "left": np.array([left] * 2), "flip": np.array([False, True])}
            expected = torch.stack([reference(image, params, i, 5, "constant") for i, image in enumerate(images)])
            assert torch.equal(transform.apply(images, params), expected)


def test_borders_wider_than_the_image() -> None:
    images = pictures(40, (3, 2))
    transform = PadCropFlip(padding=6)
    params = transform.draw(np.random.default_rng(0), 40, (3, 2))
    expected = torch.stack([reference(image, params, i, 6, "constant") for i, image in enumerate(images)])
    assert torch.equal(transform.apply(images, params), expected)
    assert torch.equal(transform.gather(images, params), expected)


def test_draws_as_torchvision_does() -> None:
    transform = PadCropFlip(padding=3, flip_prob=0.3)
    params = transform.draw(np.random.default_rng(0), 4000, SIZE)
    torch.manual_seed(0)
    crop = v2.RandomCrop(list(SIZE))
    padded = torch.empty(3, SIZE[0] + 6, SIZE[1] + 6)
    drawn = [crop.make_params([padded]) for _ in range(4000)]
    for name in ("top", "left"):
        assert stats.ks_2samp(params[name], [each[name] for each in drawn]).pvalue > 0.01
        assert set(params[name].tolist()) == set(range(7))
    assert stats.binomtest(int(params["flip"].sum()), 4000, 0.3).pvalue > 0.01
    assert abs(np.corrcoef([params["top"], params["left"], params["flip"]]) - np.eye(3)).max() < 0.05


def test_the_input_is_not_changed() -> None:
    images = pictures(8)
    before = images.clone()
    for mode in MODES:
        PadCropFlip(padding=2, mode=mode)(images, np.random.default_rng(0))
        assert torch.equal(images, before)


def test_a_part_of_a_batch_is_augmented_as_within_the_whole() -> None:
    images = pictures(8)
    transform = PadCropFlip(padding=4)
    params = transform.draw(np.random.default_rng(0), 8, SIZE)
    part = slice(3, 7)
    assert torch.equal(transform.apply(images[part], choose(params, part)), transform.apply(images, params)[part])


@pytest.mark.parametrize("mode", MODES)
def test_no_images(mode: str) -> None:
    transform = PadCropFlip(padding=2, mode=mode)
    params = transform.draw(np.random.default_rng(0), 0, SIZE)
    assert transform.apply(pictures(0), params).shape == (0, 3, *SIZE)


def test_borders_that_cannot_be_mirrored_are_refused() -> None:
    for mode, largest in (("reflect", 11), ("symmetric", 12)):
        PadCropFlip(padding=largest, mode=mode).draw(np.random.default_rng(0), 1, SIZE)
        with pytest.raises(ValueError, match=rf"INPUT.PADDING.SIZE {largest + 1} .* at most {largest} .* 24x12"):
            PadCropFlip(padding=largest + 1, mode=mode).draw(np.random.default_rng(0), 1, SIZE)
    with pytest.raises(ValueError, match="there are constant, edge, reflect, symmetric"):
        PadCropFlip(mode="mirror")


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, (0, 0.0)),
        ({"PADDING": {"ENABLED": True, "SIZE": 4}}, (4, 0.0)),
        ({"FLIP": {"ENABLED": True, "PROB": 0.25}}, (0, 0.25)),
    ],
)
def test_keys(switches: dict[str, Any], expected: tuple[int, float]) -> None:
    cfg = get_cfg()
    cfg.merge_from_mapping({"INPUT": switches})
    transform = PadCropFlip(cfg)
    assert (transform.padding, transform.flip_prob, transform.mode) == (*expected, "constant")
