from __future__ import annotations

import numpy as np
import pytest
import torch
from references import (
    assert_close,
    assert_draws_by_count,
    assert_well_behaved,
    make_images,
    one_by_one,
)
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from fastreid_ext.config import get_cfg
from fastreid_ext.data.transforms import color
from fastreid_ext.data.transforms.color_jitter import ColorJitter

FACTORS = [0.0, 0.1, 0.5, 0.85, 1.0, 1.0, 1.15, 1.9, 2.0, 3.3]
TURNS = [-0.5, -0.31, -0.1, 0.0, 0.02, 0.1, 0.25, 0.5, 0.1, -0.2]
ROUNDING = {"levels": 1, "share": 0.01}
"""Multiplications in another order: one level, on less than one pixel of a hundred."""


@pytest.mark.parametrize("size", [(64, 32), (37, 23), (2, 5), (1, 1)])
@pytest.mark.parametrize(
    ("name", "of_one_image", "values", "tolerance"),
    [
        ("brightness", tv.adjust_brightness, FACTORS, {}),
        ("contrast", tv.adjust_contrast, FACTORS, ROUNDING),
        ("saturation", tv.adjust_saturation, FACTORS, ROUNDING),
        ("hue", tv.adjust_hue, TURNS, ROUNDING),
        ("sharpness", tv.adjust_sharpness, FACTORS, ROUNDING),
        ("posterize", tv.posterize, [0, 1, 2, 3, 4, 5, 6, 7, 8, 4], {}),
        ("solarize", tv.solarize, [0.0, 10.0, 28.3, 100.0, 127.5, 128.0, 170.0, 200.0, 254.9, 255.0], {}),
    ],
)
def test_equals_torchvision_on_every_image(name, of_one_image, values, tolerance, size):
    images = make_images(10, *size)
    before = images.clone()
    result = getattr(color, name)(images, torch.tensor(values))
    assert_close(result, one_by_one(images, of_one_image, values), **tolerance)
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ["autocontrast", "equalize", "invert"])
def test_torchvisions_own_work_on_batches(name):
    images = make_images(6)
    assert torch.equal(getattr(color, name)(images), one_by_one(images, getattr(tv, name)))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue", "sharpness"])
def test_whole_floats_stay_whole_floats(name):
    images = make_images(8)
    values = torch.tensor(TURNS[:8] if name == "hue" else FACTORS[:8])
    levels = images.float()
    result = getattr(color, name)(levels, values)
    assert result.dtype == torch.float32
    assert torch.equal(result, getattr(color, name)(images, values).float())
    assert torch.equal(levels, images.float())


def test_every_colour_keeps_its_level_through_a_turn_of_nothing():
    colours = torch.cartesian_prod(*[torch.arange(0, 256, 15)] * 3).T.reshape(1, 3, -1, 1).to(torch.uint8)
    assert torch.equal(color.hue(colours, torch.zeros(1)), colours)


def test_hue_of_all_colours():
    colours = torch.cartesian_prod(*[torch.arange(0, 256, 15)] * 3).T.reshape(1, 3, -1, 1).to(torch.uint8)
    for turn in (-0.1, 0.05, 1 / 3, 0.5):
        assert_close(color.hue(colours, torch.tensor([turn])), tv.adjust_hue(colours, turn), **ROUNDING)


def test_solarize_of_256_changes_nothing():
    images = make_images(3)
    assert torch.equal(color.solarize(images, torch.full((3,), 256.0)), images)


# --- ColorJitter -----------------------------------------------------------------------------------------------------


def jittered(image, order, values):
    functions = (
        tv.adjust_brightness,
        tv.adjust_contrast,
        tv.adjust_saturation,
        tv.adjust_hue,
    )
    for which in order:
        image = functions[which](image, float(values[which]))
    return image


def test_color_jitter_equals_torchvisions_functions_in_the_same_order():
    # Contrast and hue carry one level of a pixel on to its neighbours in value: up to 4 levels, on 0.2 % of the values.
    transform = ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3)
    images = make_images(30)
    params = transform.draw(np.random.default_rng(0), 30, (64, 32))
    expected = one_by_one(images, jittered, params["order"].tolist(), params["value"])
    assert_close(transform.apply(images, params), expected, levels=4, share=0.002)


def test_color_jitter_draws_what_torchvision_draws():
    count = 4000
    torch.manual_seed(0)
    theirs = v2.ColorJitter(0.15, 1.5, 0.1, 0.1)
    drawn = [theirs.make_params([]) for _ in range(count)]
    ours = ColorJitter(brightness=0.15, contrast=1.5, saturation=0.1, hue=0.1)
    params = ours.draw(np.random.default_rng(0), count, (64, 32))
    for place, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        expected = [values[f"{name}_factor"] for values in drawn]
        assert stats.ks_2samp(params["value"][:, place], expected).pvalue > 0.01
    _, counts = np.unique(params["order"], axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 0.01


def test_color_jitter_of_width_zero_leaves_an_aspect_alone():
    images = make_images(9)
    nothing = ColorJitter(brightness=0, contrast=0, saturation=0, hue=0, prob=1.0)
    assert torch.equal(nothing(images, np.random.default_rng(0)), images)


def test_color_jitter_changes_a_share_of_the_images():
    images = make_images(400, 8, 4)
    result = ColorJitter(prob=0.3)(images, np.random.default_rng(0))
    changed = (result != images).flatten(1).any(1).float().mean()
    assert 0.2 < changed < 0.4


def test_color_jitter_reads_its_config():
    cfg = get_cfg()
    transform = ColorJitter(cfg)
    assert transform.prob == cfg.INPUT.CJ.PROB
    np.testing.assert_allclose(transform.low, [0.85, 0.85, 0.9, -0.1])
    np.testing.assert_allclose(transform.high, [1.15, 1.15, 1.1, 0.1])


def test_color_jitter_keeps_its_promises():
    transform = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    assert_well_behaved(transform)
    assert_draws_by_count(transform)


@pytest.mark.parametrize("wrong", [{"brightness": -0.1}, {"hue": 0.6}])
def test_color_jitter_refuses_impossible_widths(wrong):
    with pytest.raises(ValueError, match="colour jitter"):
        ColorJitter(**wrong)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 30)])
def test_equalize_compiled_and_by_batch_operations(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (4, 3, *size), dtype=torch.uint8, generator=generator)
    for images in (noise, noise // 64 * 64, torch.full_like(noise, 9), torch.full_like(noise, 255), noise.flip(-1)):
        before = images.clone()
        assert torch.equal(color.equalize(images), color.equalize_counted(images))
        assert torch.equal(images, before)
    assert torch.equal(color.equalize(noise.transpose(2, 3)), color.equalize_counted(noise.transpose(2, 3)))
