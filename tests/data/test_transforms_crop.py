"""Random resized crop: against torchvision's `resized_crop` and its sampler."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandomResizedCrop as Reference
from torchvision.transforms.v2 import functional

from fastreid_ext.config import get_cfg
from fastreid_ext.data.transforms.base import Params, choose
from fastreid_ext.data.transforms.resized_crop import RandomResizedCrop, crop_products, resampling_weights

SIZE = (32, 16)


def batch(count: int = 6, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def drawn(transform: RandomResizedCrop, count: int = 6, size: tuple[int, int] = SIZE, seed: int = 0) -> Params:
    return transform.draw(np.random.default_rng(seed), count, size)


def by_torchvision(images: Tensor, params: Params, size: tuple[int, int]) -> Tensor:
    crops = [
        functional.resized_crop(image, *box, list(size), InterpolationMode.BICUBIC, antialias=True)
        for image, box in zip(images, params["box"].tolist(), strict=True)
    ]
    return torch.stack(crops)


@pytest.mark.parametrize("size", [SIZE, (20, 20), (64, 48), (7, 5)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_torchvision_and_leaves_the_input_alone(
    size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    transform = RandomResizedCrop(size=size)
    images, params = batch().to(memory_format=memory_format), drawn(transform)
    before = images.clone()
    result = transform.apply(images, params)
    torch.testing.assert_close(result, by_torchvision(batch(), params, size), atol=0, rtol=0)
    assert result.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(images, before, atol=0, rtol=0)
    assert transform.output_size(SIZE) == size


@pytest.mark.parametrize("size", [SIZE, (20, 20), (64, 48), (7, 5)])
def test_products_equal_torchvision_within_rounding(size: tuple[int, int]) -> None:
    """On noise, the worst for rounding and overshooting. torchvision counts with weights of 16 bits on a CPU."""
    transform = RandomResizedCrop(size=size)
    images, params = batch(40), drawn(transform, 40)
    result = crop_products(images, torch.from_numpy(params["box"]), size)
    expected = by_torchvision(images, params, size)
    assert result.dtype == torch.uint8
    difference = (result.int() - expected.int()).abs()
    assert difference.max() <= 2
    assert (difference > 1).float().mean() < 1e-4
    assert difference.float().mean() < 0.02


def test_weights_are_those_of_an_antialiased_resize() -> None:
    line = torch.randn(1, 1, 1, 30, generator=torch.Generator().manual_seed(0))
    for start, number, size in ((0, 30, 10), (4, 20, 20), (3, 9, 25), (29, 1, 4)):
        weights = resampling_weights(torch.tensor([[start, number]]), 30, size)[0]
        part = line[..., start : start + number]
        expected = interpolate(part, (1, size), mode="bicubic", antialias=True)[0, 0, 0]
        torch.testing.assert_close(weights.float() @ line[0, 0, 0], expected, atol=1e-5, rtol=1e-5)
        assert not weights[:, :start].any()
        assert not weights[:, start + number :].any()


def test_a_part_of_a_batch_is_cropped_as_within_the_whole() -> None:
    transform = RandomResizedCrop(size=(20, 20))
    images, params = batch(), drawn(transform)
    whole, part = transform.apply(images, params), choose(params, slice(2, 5))
    torch.testing.assert_close(transform.apply(images[2:5], part), whole[2:5], atol=0, rtol=0)
    boxes = torch.from_numpy(params["box"])
    products = crop_products(images, boxes, (20, 20))[2:5]
    torch.testing.assert_close(crop_products(images[2:5], boxes[2:5], (20, 20)), products, atol=1, rtol=0)


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("size", [SIZE, (4, 2), (2, 4), (1, 1)])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (3.0, 4.0), (0.1, 0.2)])
def test_few_and_tiny_images(count: int, size: tuple[int, int], ratio: tuple[float, float]) -> None:
    transform = RandomResizedCrop(size=(8, 6), ratio=ratio)
    for seed in range(10):
        images, params = batch(count, size), drawn(transform, count, size, seed)
        assert len(transform(images, np.random.default_rng(seed))) == count
        top, left, height, width = params["box"].T
        assert (np.minimum(height, width) >= 1).all()
        assert (np.minimum(top, left) >= 0).all()
        assert (top + height <= size[0]).all()
        assert (left + width <= size[1]).all()
        expected = by_torchvision(images, params, (8, 6)) if count else torch.empty(0, 3, 8, 6, dtype=torch.uint8)
        torch.testing.assert_close(transform.apply(images, params), expected, atol=0, rtol=0)
        products = crop_products(images, torch.from_numpy(params["box"]), (8, 6))
        torch.testing.assert_close(products, expected, atol=2, rtol=0)


@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.16, 1.0), (3 / 4, 4 / 3)), ((0.8, 1.0), (3 / 4, 4 / 3)), ((0.3, 0.9), (0.4, 0.9))]
)
def test_boxes_are_distributed_as_torchvision_draws_them(
    scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    """At 256x128 the larger scale often fits in none of ten tries: the middle is drawn as often, too."""
    size, count = (256, 128), 3000
    ours = drawn(RandomResizedCrop(size=size, scale=scale, ratio=ratio), count, size)["box"]
    torch.manual_seed(0)
    image = torch.zeros(3, *size)
    theirs = np.array([Reference.get_params(image, list(scale), list(ratio)) for _ in range(count)])
    for i, name in enumerate(("top", "left", "height", "width")):
        assert stats.ks_2samp(ours[:, i], theirs[:, i]).pvalue > 0.01, name
    for name, (a, b) in {
        "area": (ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]),
        "ratio": (ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2]),
        "right": (ours[:, 1] + ours[:, 3], theirs[:, 1] + theirs[:, 3]),
    }.items():
        assert stats.ks_2samp(a, b).pvalue > 0.01, name


@pytest.mark.parametrize("size", [(256, 128), (128, 256), (100, 90)])
def test_without_a_fitting_shape_the_middle_is_torchvisions(size: tuple[int, int]) -> None:
    """No part is twice as large as the image."""
    for ratio in ((3 / 4, 4 / 3), (0.3, 0.4), (2.5, 3.0)):
        boxes = drawn(RandomResizedCrop(size=SIZE, scale=(2.0, 3.0), ratio=ratio), 3, size)["box"]
        expected = Reference.get_params(torch.zeros(3, *size), [2.0, 3.0], list(ratio))
        assert boxes.tolist() == [list(expected)] * 3


def test_the_config_gives_size_scale_and_ratio() -> None:
    cfg = get_cfg()
    cfg.INPUT.CROP.SIZE, cfg.INPUT.CROP.SCALE, cfg.INPUT.CROP.RATIO = [20, 10], [1.0, 1.0], [0.5, 0.5]
    transform = RandomResizedCrop(cfg)
    assert transform(batch(), np.random.default_rng(0)).shape == (6, 3, 20, 10)
    assert drawn(transform)["box"].tolist() == [[0, 0, *SIZE]] * 6
