"""Images to transform, and how far a result may be from a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.data.transforms.base import BatchTransform, choose


def make_images(count: int, height: int = 64, width: int = 32, seed: int = 0) -> Tensor:
    """Smooth colours and noise; the last but one is grey, the last is plain."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 4, generator=generator) * 300 - 20
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    images = (smooth + 20 * torch.randn(count, 3, height, width, generator=generator)).clamp(0, 255).to(torch.uint8)
    if count > 2:
        images[-2] = images[-2, :1]
        images[-1] = torch.tensor([200, 100, 30], dtype=torch.uint8).view(3, 1, 1)
    return images


def one_by_one(images: Tensor, function: Callable[..., Tensor], *values: Iterable[object]) -> Tensor:
    """A function of one image, applied in a loop."""
    return torch.stack([function(image, *of_image) for image, *of_image in zip(images, *values, strict=True)])


def assert_close(result: Tensor, reference: Tensor, *, levels: int = 0, share: float = 0.0) -> None:
    """At most `share` of the values differ, by `levels` at most; 0 and 0 mean equal."""
    assert result.shape == reference.shape
    assert result.dtype == reference.dtype == torch.uint8
    difference = (result.int() - reference.int()).abs()
    assert difference.max() <= levels, f"{difference.max()} levels"
    assert (difference > 0).float().mean() <= share, f"{(difference > 0).float().mean()} of the values differ"


def assert_well_behaved(transform: BatchTransform) -> None:
    """What every transform promises: the input stays, parts are parts of the whole, and no size is special."""
    for count, height, width in ((11, 64, 32), (1, 37, 23), (3, 1, 1), (0, 16, 8)):
        images = make_images(count, height, width)
        before = images.clone()
        params = transform.draw(np.random.default_rng(4), count, (height, width))
        result = transform.apply(images, params)
        assert torch.equal(images, before)
        assert result.shape == images.shape
        assert result.dtype == torch.uint8
        assert all(len(values) == count for values in params.values())
        part = slice(count // 2, None)
        assert torch.equal(result[part], transform.apply(images[part], choose(params, part)))
        apart = images.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
        assert torch.equal(result, transform.apply(apart, params))
        if count and result.data_ptr() == images.data_ptr():
            raise AssertionError("the result is the input")


def assert_draws_by_count(transform: BatchTransform) -> None:
    """How far the generator gets depends on the number of images, not on their size."""
    states = []
    for size in ((16, 8), (256, 128)):
        rng = np.random.default_rng(1)
        transform.draw(rng, 5, size)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1]
