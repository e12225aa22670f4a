"""Random patch: what it pastes and what it draws, against loops written from the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from fastreid_ext.config import get_cfg
from fastreid_ext.data.transforms.base import Params, choose
from fastreid_ext.data.transforms.random_patch import RandomPatch, donors, paste_mapped_, paste_slices_

SIZE = (24, 12)
DTYPES = (torch.uint8, torch.float32, torch.float16, torch.bfloat16)


def batch(count: int = 6, size: tuple[int, int] = SIZE, dtype: torch.dtype = torch.float32) -> Tensor:
    pixels = torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(0))
    return pixels.to(dtype)


def drawn(transform: RandomPatch, count: int = 6, size: tuple[int, int] = SIZE, seed: int = 0) -> Params:
    return transform.draw(np.random.default_rng(seed), count, size)


def by_loop(images: Tensor, params: Params) -> Tensor:
    """Pixel by pixel."""
    pasted = images.clone()
    for i in range(len(images)):
        others = [k % len(images) for k in range(i + 1, i + len(images))] or [i]
        donor = others[params["donor"][i] % len(others)]
        (top, left, height, width), (source_top, source_left) = params["box"][i], params["source"][i]
        for y in range(height):
            for x in range(width):
                row = source_top + (height - 1 - y if params["rotated"][i] else y)
                column = source_left + (width - 1 - x if params["flipped"][i] else x)
                pasted[i, :, top + y, left + x] = images[donor, :, row, column]
    return pasted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_a_loop_and_leaves_the_input_alone(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    transform = RandomPatch()
    images, params = batch(dtype=dtype).to(memory_format=memory_format), drawn(transform, seed=1)
    before = images.clone()
    assert 0 < np.count_nonzero(params["box"][:, 2]) < len(images)
    expected = by_loop(images, params)
    result = transform.apply(images, params)
    torch.testing.assert_close(result, expected, atol=0, rtol=0)
    assert result.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(images, before, atol=0, rtol=0)
    assert transform.apply_(images, params) is images
    torch.testing.assert_close(images, expected, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_maps_equal_slices(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    params = drawn(RandomPatch(prob=0.8), 60)
    images = batch(60, dtype=dtype).to(memory_format=memory_format)
    sliced, mapped = images.clone(), images.clone()
    paste_slices_(sliced, params)
    paste_mapped_(mapped, params)
    torch.testing.assert_close(sliced, mapped, atol=0, rtol=0)
    assert not torch.equal(sliced, images)
    assert mapped.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("size", [SIZE, (4, 2), (1, 1)])
def test_few_and_tiny_images(count: int, size: tuple[int, int]) -> None:
    transform = RandomPatch(prob=1.0)
    for seed in range(20):
        images, params = batch(count, size), drawn(transform, count, size, seed)
        assert len(transform(images, np.random.default_rng(seed))) == count
        expected, mapped = by_loop(images, params), images.clone()
        torch.testing.assert_close(transform.apply(images, params), expected, atol=0, rtol=0)
        paste_mapped_(mapped, params)
        torch.testing.assert_close(mapped, expected, atol=0, rtol=0)


def test_a_part_of_a_batch_gets_the_same_places_from_its_own_donors() -> None:
    transform = RandomPatch(prob=1.0)
    images, params = batch(), drawn(transform)
    part = choose(params, slice(2, 5))
    torch.testing.assert_close(transform.apply(images[2:5], part), by_loop(images[2:5], part), atol=0, rtol=0)


def test_the_order_of_images_does_not_matter() -> None:
    """Of two images each is the other's donor, whoever comes first."""
    transform = RandomPatch(prob=1.0)
    images, params = batch(2), drawn(transform, 2)
    swapped = transform.apply(images.flip(0), choose(params, np.array([1, 0])))
    torch.testing.assert_close(swapped.flip(0), transform.apply(images, params), atol=0, rtol=0)


def test_donors_are_others_each_as_likely() -> None:
    generator, count = np.random.default_rng(0), 5
    times = np.zeros((count, count))
    for _ in range(2000):
        times[np.arange(count), donors(generator.integers(2**62, size=count))] += 1
    assert not times.diagonal().any()
    for i in range(count):
        assert stats.chisquare(np.delete(times[i], i)).pvalue > 0.01


def test_coins_fall_as_often_as_told_and_by_themselves() -> None:
    count = 4000
    params = drawn(RandomPatch(prob=0.3, prob_rotate=0.6, prob_flip=0.2), count, (256, 128))
    coins = [params["box"][:, 2] > 0, params["rotated"], params["flipped"]]
    for coin, prob in zip(coins, (0.3, 0.6, 0.2), strict=True):
        assert stats.binomtest(int(coin.sum()), count, prob).pvalue > 0.01
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(coins[first], coins[second])[0, 1]) < 0.05


def drawn_by_loop(rng: np.random.Generator, height: int, width: int) -> list[int]:
    """Source's corner, then the box: the definition with one image and as many tries as it takes."""
    while True:
        area, ratio = rng.uniform(0.01, 0.5) * height * width, rng.uniform(0.1, 10)
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if h < height and w < width:
            corners = [[int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))] for _ in range(2)]
            return [*corners[0], *corners[1], h, w]


def test_boxes_are_distributed_as_in_a_loop() -> None:
    size, count = (256, 128), 4000
    params = drawn(RandomPatch(prob=1.0), count, size)
    ours = np.concatenate([params["source"], params["box"]], axis=1)
    rng = np.random.default_rng(1)
    theirs = np.array([drawn_by_loop(rng, *size) for _ in range(count)])
    for i, name in enumerate(("source top", "source left", "top", "left", "height", "width")):
        assert stats.ks_2samp(ours[:, i], theirs[:, i]).pvalue > 0.01, name
    for name, measure in {"area": ours[:, 4] * ours[:, 5], "ratio": ours[:, 4] / ours[:, 5]}.items():
        reference = theirs[:, 4] * theirs[:, 5] if name == "area" else theirs[:, 4] / theirs[:, 5]
        assert stats.ks_2samp(measure, reference).pvalue > 0.01, name


def test_no_patch_is_as_high_or_as_wide_as_the_image() -> None:
    boxes = drawn(RandomPatch(prob=1.0, area=(0.2, 1.0)), 500, (4, 3))["box"]
    assert boxes[:, 2].max() == 3
    assert boxes[:, 3].max() == 2


def test_the_seed_alone_decides() -> None:
    images, transform = batch(), RandomPatch()
    results = [transform(images, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


def test_the_config_says_how_often() -> None:
    cfg = get_cfg()
    cfg.INPUT.RPT.PROB = 1.0
    assert (drawn(RandomPatch(cfg), 50)["box"][:, 2] > 0).all()
