from __future__ import annotations

import math

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
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from fastreid_ext.config import get_cfg
from fastreid_ext.data.transforms.geometry import (
    affine,
    affine_matrices,
    rotation_matrices,
    shear_matrices,
    translation_matrices,
)
from fastreid_ext.data.transforms.random_affine import RandomAffine

TIES = {"levels": 255, "share": 0.0005}
"""A place half-way between two pixels may be rounded to either: any difference, on one value of two thousand."""

ANGLES = [-170.0, -41.0, -10.0, -0.3, 0.0, 7.5, 30.0, 133.0]
SHIFTS = [(0, 0), (3, -5), (-40, 0), (0, 7), (1, 1), (0, 70), (-2, 9), (5, 5)]
SCALES = [1.0, 0.9, 1.1, 1.0, 0.55, 2.0, 1.05, 0.77]
SHEARS = [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (-5.0, 20.0), (0.1, 0.0), (30.0, -30.0), (-0.1, 0.0), (3.0, 4.0)]


def all_of_torchvision(mode, fill):
    def of_one_image(image, angle, shift, scale, shear):
        return tv.affine(
            image, angle, list(shift), scale, list(shear), interpolation=InterpolationMode(mode), fill=fill
        )

    return of_one_image


def matrices():
    return affine_matrices(
        angle=ANGLES, translate=tuple(np.transpose(SHIFTS)), scale=SCALES, shear=tuple(np.transpose(SHEARS))
    )


@pytest.mark.parametrize("size", [(64, 32), (37, 23), (8, 50)])
@pytest.mark.parametrize("fill", [0, 128])
def test_nearest_equals_torchvision(size, fill):
    images = make_images(8, *size)
    before = images.clone()
    expected = one_by_one(images, all_of_torchvision("nearest", fill), ANGLES, SHIFTS, SCALES, SHEARS)
    assert_close(affine(images, matrices(), "nearest", fill), expected, **TIES)
    assert torch.equal(images, before)


@pytest.mark.parametrize("size", [(64, 32), (37, 23), (8, 50)])
def test_bilinear_equals_torchvision_on_black(size):
    images = make_images(8, *size)
    expected = one_by_one(images, all_of_torchvision("bilinear", None), ANGLES, SHIFTS, SCALES, SHEARS)
    assert_close(affine(images, matrices(), "bilinear"), expected, levels=1, share=0.001)


def test_bilinear_blends_into_the_fill():
    # torchvision weighs the outermost pixels twice where a fill is given; on black without one, it weighs them once.
    images = make_images(8)
    expected = one_by_one(
        images.float() - 77, all_of_torchvision("bilinear", None), ANGLES, SHIFTS, SCALES, SHEARS
    ).add(77)
    assert_close(affine(images, matrices(), "bilinear", 77), expected.round().to(torch.uint8), levels=1, share=0.001)


def test_rotation_equals_torchvisions():
    images = make_images(8)
    expected = one_by_one(images, lambda image, angle: tv.rotate(image, angle, fill=128), ANGLES)
    assert_close(affine(images, rotation_matrices(ANGLES), fill=128), expected, **TIES)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_shear_keeps_the_upper_left_corner_as_torchvision_does(axis):
    slopes = [-0.3, -0.17, 0.0, 0.05, 0.21, 0.3]

    def of_one_image(image, slope):
        degrees = math.degrees(math.atan(slope))
        shear = [degrees, 0.0] if axis == "x" else [0.0, degrees]
        return tv.affine(image, 0.0, [0, 0], 1.0, shear, fill=128, center=[0, 0])

    images = make_images(6, 61, 33)
    expected = one_by_one(images, of_one_image, slopes)
    assert_close(affine(images, shear_matrices(slopes, axis, (61, 33)), fill=128), expected, **TIES)


def test_shear_by_a_loop():
    images = make_images(1, 9, 12)
    sheared = affine(images, shear_matrices([0.21], "x", (9, 12)), fill=5)
    for row in range(9):
        for column in range(12):
            source = math.floor(column + 0.5 + 0.21 * (row + 0.5))
            expected = images[0, :, row, source] if source < 12 else torch.full((3,), 5, dtype=torch.uint8)
            assert torch.equal(sheared[0, :, row, column], expected)


def test_translation_is_a_copy():
    images = make_images(3, 20, 10)
    moved = affine(images, translation_matrices([3, 0, -2], [0, -4, 1]), fill=9)
    expected = torch.full_like(images, 9)
    expected[0, :, :, 3:] = images[0, :, :, :-3]
    expected[1, :, :-4] = images[1, :, 4:]
    expected[2, :, 1:, :-2] = images[2, :, :-1, 2:]
    assert torch.equal(moved, expected)
    assert torch.equal(affine(images, translation_matrices([3, 0, -2], [0, -4, 1]), "bilinear", 9), expected)


def test_identity_and_half_turn():
    images = make_images(2, 31, 18)
    turned = affine(images, rotation_matrices([0.0, 180.0]))
    assert torch.equal(turned[0], images[0])
    assert torch.equal(turned[1], images[1].flip(-1, -2))


def test_affine_of_no_images():
    images = make_images(0)
    assert affine(images, rotation_matrices([])).shape == images.shape
    assert affine(images, rotation_matrices([]), "bilinear").shape == images.shape


def test_affine_refuses_other_interpolations():
    with pytest.raises(ValueError, match="bicubic"):
        affine(make_images(1), rotation_matrices([1.0]), "bicubic")


# --- RandomAffine ----------------------------------------------------------------------------------------------------


def test_random_affine_equals_torchvisions_function():
    images = make_images(20)
    transform = RandomAffine(shear=5.0)
    params = transform.draw(np.random.default_rng(0), 20, (64, 32))
    expected = one_by_one(
        images,
        lambda image, angle, scale, shear: tv.affine(
            image, float(angle), [0, 0], float(scale), [float(shear), 0.0], fill=0
        ),
        params["angle"],
        params["scale"],
        params["shear"],
    )
    assert_close(transform.apply(images, params), expected, **TIES)


def test_random_affine_draws_what_torchvision_draws():
    count = 4000
    torch.manual_seed(0)
    theirs = v2.RandomAffine(degrees=10, scale=(0.9, 1.1), shear=0.1)
    drawn = [theirs.make_params([torch.empty(3, 64, 32)]) for _ in range(count)]
    params = RandomAffine().draw(np.random.default_rng(0), count, (64, 32))
    assert {values["translate"] for values in drawn} == {(0, 0)}
    for name, expected in {
        "angle": [values["angle"] for values in drawn],
        "scale": [values["scale"] for values in drawn],
        "shear": [values["shear"][0] for values in drawn],
    }.items():
        assert stats.ks_2samp(params[name], expected).pvalue > 0.01


def test_random_affine_reads_its_config():
    transform = RandomAffine(get_cfg())
    assert (transform.prob, transform.degrees, transform.scale, transform.shear) == (1.0, 10.0, (0.9, 1.1), 0.1)


def test_random_affine_keeps_its_promises():
    assert_well_behaved(RandomAffine())
    assert_draws_by_count(RandomAffine())
