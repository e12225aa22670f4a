from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from references import assert_close, assert_draws_by_count, assert_well_behaved, make_images, one_by_one
from scipy import stats
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from fastreid_ext.config import get_cfg
from fastreid_ext.data.transforms import aug_mix, auto_augment
from fastreid_ext.data.transforms.aug_mix import AugMix
from fastreid_ext.data.transforms.auto_augment import IMAGENET_POLICY, AutoAugment

THEIR_NAMES = {
    "posterize": "Posterize",
    "rotate": "Rotate",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "color": "Color",
    "contrast": "Contrast",
    "invert": "Invert",
    "sharpness": "Sharpness",
    "shear_x": "ShearX",
}


def sheared(image, slope, axis, **options):
    degrees = math.degrees(math.atan(slope))
    shear = [degrees, 0.0] if axis == "x" else [0.0, degrees]
    return tv.affine(image, 0.0, [0, 0], 1.0, shear, center=[0, 0], **options)


# --- AutoAugment -----------------------------------------------------------------------------------------------------


def test_policy_is_torchvisions():
    theirs = v2.AutoAugment(AutoAugmentPolicy.IMAGENET)._policies
    ours = [tuple((THEIR_NAMES[name], prob, magnitude) for name, prob, magnitude in pair) for pair in IMAGENET_POLICY]
    assert ours == [tuple((name, prob, magnitude or 0) for name, prob, magnitude in pair) for pair in theirs]


class Recorder(v2.AutoAugment):
    """Writes down what torchvision's AutoAugment would do; identity where it does nothing."""

    def __init__(self):
        super().__init__(AutoAugmentPolicy.IMAGENET)
        self.calls = []

    def _apply_image_or_video_transform(self, image, transform_id, magnitude, interpolation, fill):
        self.calls.append((transform_id, round(magnitude, 5)))
        return image


def as_torchvision_calls(codes, values):
    """What we drew for one image, in torchvision's terms."""
    calls = []
    for code, value in zip(codes.tolist(), values.tolist(), strict=True):
        if code < 0:
            continue
        name = list(auto_augment._OPERATIONS)[code]
        if name in ("color", "contrast", "sharpness"):
            value -= 1
        calls.append((THEIR_NAMES[name], round(value / 255 if name == "solarize" else value, 5) + 0.0))
    return tuple(calls)


def test_auto_augment_draws_what_torchvision_draws():
    torch.manual_seed(0)
    recorder, image, count = Recorder(), torch.zeros(3, 4, 4, dtype=torch.uint8), 6000
    theirs = Counter()
    for _ in range(count):
        recorder.calls = []
        recorder(image)
        theirs[tuple((name, magnitude + 0.0) for name, magnitude in recorder.calls)] += 1
    params = AutoAugment().draw(np.random.default_rng(0), count, (4, 4))
    ours = Counter(map(as_torchvision_calls, params["operation"], params["value"]))
    common = [calls for calls in theirs if theirs[calls] + ours[calls] >= 40]
    table = np.array([[counts[calls] for calls in common] for counts in (theirs, ours)])
    table = np.column_stack([table, count - table.sum(1)])
    assert len(common) > 40
    assert stats.chi2_contingency(table).pvalue > 0.01
    assert all(calls in theirs for calls in ours if ours[calls] >= 20)


def by_torchvision(image, code, value):
    """One operation of AutoAugment, of exactly the magnitude that torchvision has in its table."""
    theirs = v2.AutoAugment(AutoAugmentPolicy.IMAGENET, fill=128)
    ((name, magnitude),) = as_torchvision_calls(code, value)
    table = theirs._AUGMENTATION_SPACE[name][0](10, *image.shape[-2:])
    if table is not None:
        nearest = float(table[(table - abs(magnitude)).abs().argmin()])
        assert nearest == pytest.approx(abs(magnitude), abs=1e-5)
        magnitude = math.copysign(nearest, magnitude)
    return theirs._apply_image_or_video_transform(image, name, magnitude, theirs.interpolation, theirs._fill)


def test_auto_augment_equals_torchvision_step_by_step():
    images, transform = make_images(200), AutoAugment()
    params = transform.draw(np.random.default_rng(3), 200, (64, 32))
    result = transform.apply(images, params)
    for place in range(2):
        step = {name: values[:, place : place + 1] for name, values in params.items()}
        behind = transform.apply(
            images, {name: np.pad(v, ((0, 0), (0, 1)), constant_values=-1) for name, v in step.items()}
        )
        for before, after, code, value in zip(images, behind, step["operation"], step["value"], strict=True):
            if code[0] < 0:
                assert torch.equal(after, before)
                continue
            # Factors of tenths make one blend in five a whole number, which float32 may round down to the level below.
            blend = list(auto_augment._OPERATIONS)[code[0]] in ("color", "contrast", "sharpness")
            expected = by_torchvision(before, code, value)
            assert_close(after, expected, **({"levels": 1, "share": 1.0} if blend else {}))
        images = behind
    assert torch.equal(images, result)


def test_auto_augment_knows_every_operation_of_its_policy():
    named = {name for pair in IMAGENET_POLICY for name, _, _ in pair}
    assert named == set(auto_augment._OPERATIONS)


def test_auto_augment_without_operations_is_the_image():
    images = make_images(4)
    params = {"operation": np.full((4, 2), -1), "value": np.zeros((4, 2))}
    assert torch.equal(AutoAugment().apply(images, params), images)


def test_auto_augment_reads_its_config():
    cfg = get_cfg()
    cfg.INPUT.AUTOAUG.PROB = 0.25
    assert AutoAugment(cfg).prob == 0.25


def test_auto_augment_keeps_its_promises():
    assert_well_behaved(AutoAugment())
    assert_draws_by_count(AutoAugment())


# --- AugMix ----------------------------------------------------------------------------------------------------------

AUG_MIX_NAMES = list(aug_mix._OPERATIONS)


def distorted(image, name, value):
    """One operation of AugMix, by torchvision."""
    plain = {"angle": 0.0, "scale": 1.0, "shear": [0.0, 0.0]}
    return {
        "autocontrast": lambda: tv.autocontrast(image),
        "equalize": lambda: tv.equalize(image),
        "posterize": lambda: tv.posterize(image, int(value)),
        "rotate": lambda: tv.rotate(image, float(value), interpolation=InterpolationMode.BILINEAR),
        "solarize": lambda: tv.solarize(image, float(value)) if value <= 255 else image,
        "shear_x": lambda: sheared(image, value, "x", interpolation=InterpolationMode.BILINEAR),
        "shear_y": lambda: sheared(image, value, "y", interpolation=InterpolationMode.BILINEAR),
        "translate_x": lambda: tv.affine(
            image, translate=[int(value), 0], interpolation=InterpolationMode.BILINEAR, **plain
        ),
        "translate_y": lambda: tv.affine(
            image, translate=[0, int(value)], interpolation=InterpolationMode.BILINEAR, **plain
        ),
    }[name]()


def mixed(image, codes, values, weights):
    """The mixture ahead of its rounding, in float64."""
    mixture = weights[0] * image.double()
    for chain_codes, chain_values, weight in zip(codes, values, weights[1:], strict=True):
        chain = image
        for code, value in zip(chain_codes, chain_values, strict=True):
            chain = distorted(chain, AUG_MIX_NAMES[code], value)
        mixture = mixture + weight * chain
    return mixture


@pytest.mark.parametrize("settings", [{}, {"severity": 8.0, "depth": 2, "alpha": 1.0}, {"width": 1, "severity": 3.0}])
def test_aug_mix_equals_a_loop(settings):
    transform = AugMix(**settings)
    images = make_images(60)
    params = transform.draw(np.random.default_rng(0), 60, (64, 32))
    expected = one_by_one(images, mixed, params["operation"], params["value"], params["weight"])
    # Rounded down from what a loop finds; chains of a weight below 1/512 are left out.
    left_out = torch.from_numpy(np.where(params["weight"] < 1 / 512, params["weight"], 0)[:, 1:].sum(1)).view(
        -1, 1, 1, 1
    )
    surplus = transform.apply(images, params) - expected
    outside = torch.maximum(surplus - 0.002, -1 - surplus).sub(255 * left_out).clamp(min=0)
    # Bilinear samples on the other side of a half differ by a level; equalising them makes it a few.
    assert outside.max() < 6
    assert (outside > 0).double().mean() < 0.002


def reference_value(rng, name, severity, height, width):
    """The AugMix authors' magnitudes."""
    level = rng.uniform(0.1, severity)
    sign = rng.choice([-1, 1])
    return {
        "autocontrast": lambda: 0,
        "equalize": lambda: 0,
        "posterize": lambda: 4 - int(level * 4 / 10),
        "rotate": lambda: sign * int(level * 30 / 10),
        "solarize": lambda: 256 - int(level * 256 / 10),
        "shear_x": lambda: sign * level * 0.3 / 10,
        "shear_y": lambda: sign * level * 0.3 / 10,
        "translate_x": lambda: sign * int(level * (width / 3) / 10),
        "translate_y": lambda: sign * int(level * (height / 3) / 10),
    }[name]()


@pytest.mark.parametrize("severity", [1.0, 6.0])
def test_aug_mix_draws_the_authors_magnitudes(severity):
    count, rng = 3000, np.random.default_rng(1)
    params = AugMix(severity=severity).draw(np.random.default_rng(0), count, (256, 128))
    assert stats.chisquare(np.bincount(params["operation"].ravel(), minlength=len(AUG_MIX_NAMES))).pvalue > 0.01
    for code, name in enumerate(AUG_MIX_NAMES):
        ours = params["value"][params["operation"] == code]
        theirs = [reference_value(rng, name, severity, 256, 128) for _ in ours]
        if name.startswith("shear"):
            assert stats.ks_2samp(ours, theirs).pvalue > 0.01
            continue
        assert np.array_equal(ours, np.round(ours))
        levels, places = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
        table = [np.bincount(part, minlength=len(levels)) for part in (places[: len(ours)], places[len(ours) :])]
        assert len(levels) == 1 or stats.chi2_contingency(table).pvalue > 0.005, name


def test_aug_mix_draws_the_authors_weights():
    count, rng = 4000, np.random.default_rng(1)
    weights = AugMix().draw(np.random.default_rng(0), count, (256, 128))["weight"]
    np.testing.assert_allclose(weights.sum(1), 1)
    mix = rng.beta(0.1, 0.1, count)
    chains = mix[:, None] * rng.dirichlet([0.1, 0.1, 0.1], count)
    assert stats.ks_2samp(weights[:, 0], 1 - mix).pvalue > 0.01
    for chain in range(3):
        assert stats.ks_2samp(weights[:, chain + 1], chains[:, chain]).pvalue > 0.01


def test_aug_mix_of_no_mixture_is_the_image():
    images = make_images(5)
    params = AugMix().draw(np.random.default_rng(0), 5, (64, 32))
    params["weight"] = np.tile([1.0, 0, 0, 0], (5, 1))
    assert torch.equal(AugMix().apply(images, params), images)


def test_aug_mix_reads_its_config():
    cfg = get_cfg()
    cfg.INPUT.AUGMIX.PROB = 0.5
    transform = AugMix(cfg)
    assert (transform.prob, transform.severity, transform.width, transform.depth) == (0.5, 1.0, 3, 1)


def test_aug_mix_keeps_its_promises():
    assert_well_behaved(AugMix(severity=5.0, depth=2))
    assert_draws_by_count(AugMix())


@pytest.mark.parametrize("wrong", [{"severity": 11.0}, {"severity": 0.0}, {"width": 0}, {"depth": 0}, {"alpha": 0.0}])
def test_aug_mix_refuses_impossible_arguments(wrong):
    with pytest.raises(ValueError, match="AugMix"):
        AugMix(**wrong)
