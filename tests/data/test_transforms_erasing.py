"""Random erasing: what it paints against torchvision's `erase`, what it draws against torchvision's sampler."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import RandomErasing as Reference
from torchvision.transforms.v2 import functional

from fastreid_ext.config import get_cfg
from fastreid_ext.data.transforms.base import Params, choose
from fastreid_ext.data.transforms.boxes import draw_corners
from fastreid_ext.data.transforms.random_erasing import RandomErasing, fill_masked_, fill_slices_

SIZE = (24, 12)
MODES = ("const", "rand", "pixel")
VALUE = (0.5, -1.25, 2.0)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def batch(count: int = 6, size: tuple[int, int] = SIZE, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(0)).to(dtype)


def drawn(transform: RandomErasing, count: int = 6, size: tuple[int, int] = SIZE, seed: int = 0) -> Params:
    return transform.draw(np.random.default_rng(seed), count, size)


def by_torchvision(images: Tensor, params: Params, mode: str) -> Tensor:
    """Image by image, with the colours and noise that the parameters stand for."""
    erased = []
    for i, image in enumerate(images):
        top, left, height, width = params["box"][i].tolist()
        fill = torch.tensor(VALUE)[:, None, None]
        if mode == "rand":
            fill = torch.from_numpy(params["colour"][i])[:, None, None]
        elif mode == "pixel":
            generator = torch.Generator().manual_seed(int(params["seed"][i]))
            fill = torch.randn(3, height, width, generator=generator)
        erased.append(functional.erase(image, top, left, height, width, fill.to(image.dtype)))
    return torch.stack(erased)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_torchvision_and_leaves_the_input_alone(mode: str, dtype: torch.dtype) -> None:
    transform = RandomErasing(value=VALUE, mode=mode)
    images, params = batch(dtype=dtype), drawn(transform)
    before = images.clone()
    assert 0 < np.count_nonzero(params["box"][:, 2]) < len(images)
    expected = by_torchvision(images, params, mode)
    torch.testing.assert_close(transform.apply(images, params), expected, atol=0, rtol=0)
    torch.testing.assert_close(images, before, atol=0, rtol=0)
    assert transform.apply_(images, params) is images
    torch.testing.assert_close(images, expected, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_masks_equal_slices(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    boxes = drawn(RandomErasing(prob=0.8), 40)["box"]
    images, colours = batch(40, dtype=dtype).to(memory_format=memory_format), batch(40)[:, :, 0, 0].to(dtype)
    sliced, masked = images.clone(), images.clone()
    fill_slices_(sliced, boxes.tolist(), colours)
    fill_masked_(masked, torch.from_numpy(boxes), colours)
    torch.testing.assert_close(sliced, masked, atol=0, rtol=0)
    assert not torch.equal(sliced, images)
    assert masked.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("mode", MODES)
def test_channels_last_stays(mode: str) -> None:
    transform = RandomErasing(value=VALUE, mode=mode)
    images, params = batch(), drawn(transform)
    result = transform.apply(images.to(memory_format=torch.channels_last), params)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, transform.apply(images, params), atol=0, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_a_part_of_a_batch_is_erased_as_within_the_whole(mode: str) -> None:
    transform = RandomErasing(prob=1.0, mode=mode)
    images, params = batch(), drawn(transform)
    part = transform.apply(images[2:5], choose(params, slice(2, 5)))
    torch.testing.assert_close(part, transform.apply(images, params)[2:5], atol=0, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("size", [SIZE, (4, 2), (1, 1)])
def test_few_and_tiny_images(mode: str, count: int, size: tuple[int, int]) -> None:
    transform = RandomErasing(prob=1.0, mode=mode, value=VALUE)
    for seed in range(20):
        images, params = batch(count, size), drawn(transform, count, size, seed)
        assert len(transform(images, np.random.default_rng(seed))) == count
        expected = by_torchvision(images, params, mode) if count else images
        torch.testing.assert_close(transform.apply(images, params), expected, atol=0, rtol=0)
        masked = images.clone()
        fill_masked_(masked, torch.from_numpy(params["box"]), torch.zeros(count, 3))
        assert masked.shape == images.shape


def test_the_seed_alone_decides_and_the_mode_does_not_move_the_boxes() -> None:
    boxes = [drawn(RandomErasing(mode=mode), 50, seed=3)["box"] for mode in MODES]
    assert all(np.array_equal(box, boxes[0]) for box in boxes)
    assert not np.array_equal(drawn(RandomErasing(), 50, seed=4)["box"], boxes[0])


def test_an_image_is_erased_as_often_as_told() -> None:
    for prob in (0.0, 0.3, 1.0):
        erased = np.count_nonzero(drawn(RandomErasing(prob=prob), 4000, (256, 128))["box"][:, 2])
        assert stats.binomtest(erased, 4000, prob).pvalue > 0.01


def test_boxes_are_distributed_as_torchvision_draws_them() -> None:
    size, count = (256, 128), 4000
    boxes = drawn(RandomErasing(prob=1.0), count, size)["box"]
    torch.manual_seed(0)
    image = torch.zeros(3, *size)
    reference = np.array([Reference.get_params(image, (0.02, 0.4), (0.3, 1 / 0.3), [0.0])[:4] for _ in range(count)])
    measures = {
        **{name: (boxes[:, i], reference[:, i]) for i, name in enumerate(("top", "left", "height", "width"))},
        "area": (boxes[:, 2] * boxes[:, 3], reference[:, 2] * reference[:, 3]),
        "ratio": (boxes[:, 2] / boxes[:, 3], reference[:, 2] / reference[:, 3]),
        "bottom": (boxes[:, 0] + boxes[:, 2], reference[:, 0] + reference[:, 2]),
    }
    for name, (ours, theirs) in measures.items():
        assert stats.ks_2samp(ours, theirs).pvalue > 0.01, name


def test_no_box_is_as_high_or_as_wide_as_the_image() -> None:
    boxes = drawn(RandomErasing(prob=1.0, area=(0.2, 1.0)), 500, (4, 3))["box"]
    assert set(boxes[:, 2]) == {0, 1, 2, 3}
    assert set(boxes[:, 3]) == {0, 1, 2}


def test_corners_are_uniform_over_all_places() -> None:
    corners = draw_corners(np.random.default_rng(0), (5, 4), np.full((6000, 2), 3))
    places, counts = np.unique(corners, axis=0, return_counts=True)
    assert len(places) == 3 * 2
    assert stats.chisquare(counts).pvalue > 0.01


def test_colours_and_noise_are_standard_normal() -> None:
    colours = drawn(RandomErasing(mode="rand"), 2000)["colour"].ravel()
    assert stats.kstest(colours, "norm").pvalue > 0.01
    transform = RandomErasing(prob=1.0, mode="pixel")
    images, params = torch.full((20, 3, *SIZE), float("nan")), drawn(transform, 20)
    noise = transform.apply(images, params)
    assert stats.kstest(noise[~noise.isnan()].numpy(), "norm").pvalue > 0.01
    assert len(np.unique(params["seed"])) == 20


def test_the_config_names_a_colour_of_bytes() -> None:
    cfg = get_cfg()
    cfg.INPUT.REA.PROB, cfg.INPUT.REA.VALUE, cfg.INPUT.REA.MODE = 1.0, [255.0, 0.0, 10.0], "const"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [100.0, 110.0, 10.0], [50.0, 55.0, 60.0]
    transform = RandomErasing(cfg)
    images, params = batch(1), drawn(transform, 1)
    top, left, _, _ = params["box"][0]
    assert transform.apply(images, params)[0, :, top, left].tolist() == pytest.approx([3.1, -2.0, 0.0])


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"INPUT\.REA\.MODE"):
        RandomErasing(mode="noise")
