"""Augmentation: each transform against its definition, and all of it reproducible from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.data.transforms import TRANSFORMS, RandomPatch, build_test_transform, build_train_transform
from fastreid_ext.registry import RegistryError
from fastreid_ext.utils.rng import get_rng_state

SIZE = (24, 12)
SWITCHES = ["AUTOAUG", "CROP", "PADDING", "FLIP", "CJ", "AFFINE", "AUGMIX", "REA", "RPT"]


def config(**options: dict[str, Any]) -> CfgNode:
    """Small images; `FLIP={"PROB": 1.0}` switches FLIP on with that option."""
    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST, cfg.INPUT.CROP.SIZE = list(SIZE), list(SIZE), [16, 8]
    for name, values in options.items():
        cfg.INPUT[name].ENABLED = True
        for key, value in values.items():
            cfg.INPUT[name][key] = value
    return cfg


def picture(height: int = SIZE[0], width: int = SIZE[1], seed: int = 0) -> Image.Image:
    """Smooth colours between 30 and 220, all different."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (4, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


def plain(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def seeded(transform: Callable[[Image.Image], Tensor], image: Image.Image, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transform(image)


def outcomes(cfg: CfgNode, image: Image.Image, count: int) -> list[Tensor]:
    transform = build_train_transform(cfg)
    return [seeded(transform, image, seed) for seed in range(count)]


def changed_share(results: Iterable[Tensor], image: Image.Image) -> float:
    return float(np.mean([not torch.equal(result, plain(image)) for result in results]))


def test_without_augmentation_both_pipelines_resize_as_pillow_does() -> None:
    for image in (picture(50, 40), picture(10, 6), picture()):
        expected = plain(image.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))
        for build in (build_train_transform, build_test_transform):
            result = build(config())(image)
            assert result.dtype == torch.uint8
            torch.testing.assert_close(result, expected, atol=0, rtol=0)


def test_test_images_are_cropped_in_the_middle() -> None:
    image = picture(50, 40)
    resized = plain(image.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))
    result = build_test_transform(config(CROP={}))(image)
    torch.testing.assert_close(result, resized[:, 4:20, 2:10], atol=0, rtol=0)


def test_test_images_are_not_augmented() -> None:
    cfg = config(**{name: {} for name in SWITCHES if name != "CROP"})
    image = picture(50, 40)
    expected = plain(image.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))
    torch.testing.assert_close(build_test_transform(cfg)(image), expected, atol=0, rtol=0)


@pytest.mark.parametrize("name", SWITCHES)
def test_each_is_off_by_default_and_changes_images_when_on(name: str) -> None:
    has_probability = "PROB" in config().INPUT[name]
    cfg = config(**{name: {"PROB": 1.0} if has_probability else {}})
    image = picture()
    transform = build_train_transform(cfg)
    # RandomPatch needs a pool first.
    results = [seeded(transform, image, seed) for seed in range(130)][-20:]
    size = (16, 8) if name == "CROP" else SIZE
    assert all(result.shape == (3, *size) and result.dtype == torch.uint8 for result in results)
    assert len({result.numpy().tobytes() for result in results}) > (0 if name == "FLIP" else 2)
    assert any(not torch.equal(result, plain(image)) for result in results)


@pytest.mark.parametrize("name", [name for name in SWITCHES if name != "RPT"])
def test_the_seed_alone_decides(name: str) -> None:
    cfg = config(**{name: {"PROB": 1.0} if "PROB" in config().INPUT[name] else {}})
    image = picture()
    first = build_train_transform(cfg)
    results = [seeded(first, image, seed) for seed in range(6)]
    random.seed(1)
    np.random.seed(1)  # the generator that a transform might use unasked
    torch.manual_seed(1)
    second = build_train_transform(cfg)
    for seed in (5, 0, 3):
        torch.testing.assert_close(seeded(second, image, seed), results[seed], atol=0, rtol=0)


def test_all_together_leave_the_global_generators_alone() -> None:
    transform = build_train_transform(config(**{name: {} for name in SWITCHES}))
    before = get_rng_state()
    for seed in range(5):
        assert seeded(transform, picture(40, 30), seed).shape == (3, 16, 8)
    after = get_rng_state()
    assert after["python"] == before["python"]
    assert str(after["numpy"]) == str(before["numpy"])
    assert torch.equal(after["torch"], before["torch"])


def test_the_input_is_not_changed() -> None:
    image = picture()
    before = image.tobytes()
    outcomes(config(**{name: {} for name in SWITCHES}), image, 5)
    assert image.tobytes() == before


def test_flip_mirrors_as_often_as_told() -> None:
    image = picture()
    results = outcomes(config(FLIP={"PROB": 0.3}), image, 600)
    mirrored = [torch.equal(result, plain(image).flip(-1)) for result in results]
    assert all(flip or torch.equal(result, plain(image)) for flip, result in zip(mirrored, results, strict=True))
    assert 0.24 < np.mean(mirrored) < 0.36


@pytest.mark.parametrize("name", ["CJ", "AUGMIX", "REA"])
def test_probabilities(name: str) -> None:
    image = picture()
    assert changed_share(outcomes(config(**{name: {"PROB": 0.0}}), image, 20), image) == 0
    # AugMix and jitter leave an image as it is now and then.
    assert 0.2 < changed_share(outcomes(config(**{name: {"PROB": 0.4}}), image, 300), image) < 0.5


@pytest.mark.parametrize(
    ("mode", "numpy_mode"),
    [("constant", "constant"), ("edge", "edge"), ("reflect", "reflect"), ("symmetric", "symmetric")],
)
def test_pad_crop_is_a_window_of_the_padded_image(mode: str, numpy_mode: Any) -> None:
    image = picture()
    padded = np.pad(plain(image).numpy(), ((0, 0), (3, 3), (3, 3)), mode=numpy_mode)
    windows = {
        padded[:, top : top + SIZE[0], left : left + SIZE[1]].tobytes(): (top, left)
        for top in range(7)
        for left in range(7)
    }
    results = outcomes(config(PADDING={"MODE": mode, "SIZE": 3}), image, 300)
    seen = {windows[result.numpy().tobytes()] for result in results}
    assert len(seen) > 40


def test_pad_crop_keeps_the_size_of_a_crop() -> None:
    results = outcomes(config(CROP={}, PADDING={"SIZE": 2}), picture(), 5)
    assert all(result.shape == (3, 16, 8) for result in results)


def test_random_resized_crop_takes_parts() -> None:
    image = Image.fromarray(np.tile(np.linspace(0, 255, SIZE[1], dtype=np.uint8)[None, :, None], (SIZE[0], 1, 3)))
    spans = [
        int(result[0, 8].max()) - int(result[0, 8].min())
        for result in outcomes(config(CROP={"SCALE": [0.1, 0.5]}), image, 50)
    ]
    assert max(spans) < 250
    assert min(spans) < 128


def test_jitter_stays_within_its_limits() -> None:
    image = Image.new("RGB", (12, 24), (120, 120, 120))
    only_brightness = {"PROB": 1.0, "BRIGHTNESS": 0.15, "CONTRAST": 0.0, "SATURATION": 0.0, "HUE": 0.0}
    values = [int(result[0, 0, 0]) for result in outcomes(config(CJ=only_brightness), image, 200)]
    assert 101 <= min(values) < 106
    assert 134 < max(values) <= 138


def test_affine_turns_by_at_most_ten_degrees() -> None:
    image = Image.new("RGB", (41, 41))
    image.putpixel((35, 20), (255, 255, 255))
    cfg = config(AFFINE={})
    cfg.INPUT.SIZE_TRAIN = [41, 41]
    for result in outcomes(cfg, image, 40):
        for row, column in result[0].nonzero().tolist():
            assert abs(np.degrees(np.arctan2(row - 20, column - 20))) < 10 + 3
            assert 15 * 0.9 - 1.5 < np.hypot(row - 20, column - 20) < 15 * 1.1 + 1.5


def test_erasing_fills_one_rectangle_with_the_rounded_value() -> None:
    image = Image.new("RGB", (60, 120), (1, 2, 3))
    cfg = config(REA={"PROB": 1.0})
    cfg.INPUT.SIZE_TRAIN = [120, 60]
    areas, ratios = [], []
    for result in outcomes(cfg, image, 200):
        erased = (result != plain(image)).any(dim=0)
        rows, columns = erased.any(dim=1).nonzero().ravel(), erased.any(dim=0).nonzero().ravel()
        height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        assert int(erased.sum()) == height * width
        assert {tuple(colour) for colour in result[:, erased].T.tolist()} == {(124, 116, 104)}
        areas.append(height * width / (120 * 60))
        ratios.append(height / width)
    assert 0.015 < min(areas) < 0.06
    assert 0.35 < max(areas) < 0.41
    assert 0.25 < min(ratios) < 0.6
    assert 1.8 < max(ratios) < 4


def filled_pool(images: list[Tensor]) -> RandomPatch:
    """A transform whose pool holds a patch of each image."""
    patch = RandomPatch(1.0, min_pool=len(images))
    torch.manual_seed(0)
    for number, image in enumerate(images):
        while len(patch.pool) == number:
            patch(image)
    return patch


def test_patches_come_from_earlier_images() -> None:
    patch = filled_pool([torch.full((3, 20, 10), colour, dtype=torch.uint8) for colour in range(100)])
    last = torch.full((3, 20, 10), 200, dtype=torch.uint8)
    seen: set[int] = set()
    for _ in range(40):
        pasted = patch(last)
        assert pasted.shape == last.shape
        assert len(pasted.unique()) <= 2
        seen |= set(pasted.unique().tolist())
    assert torch.equal(last, torch.full_like(last, 200))
    assert len(seen) > 20


def test_nothing_is_pasted_from_a_small_pool() -> None:
    patch = RandomPatch(1.0, min_pool=5)
    for colour in range(4):
        image = torch.full((3, 20, 10), colour, dtype=torch.uint8)
        assert torch.equal(patch(image), image)


def test_patches_are_mirrored_and_turned_over() -> None:
    # Neighbours differ by 1 along a row and by 10 along a column.
    source = torch.arange(200, dtype=torch.uint8).reshape(1, 20, 10).expand(3, -1, -1)
    patch = filled_pool([source] * 100)
    blank = torch.full((3, 20, 10), 255, dtype=torch.uint8)
    steps = set()
    for _ in range(60):
        pasted = patch(blank)[0].int()
        rows, columns = (pasted != 255).nonzero().unbind(1)
        if len(rows) and len(rows.unique()) > 1 and len(columns.unique()) > 1:
            corner = pasted[rows.min() :, columns.min() :]
            steps.add((int(corner[0, 1] - corner[0, 0]), int(corner[1, 0] - corner[0, 0])))
    assert steps == {(1, 10), (-1, 10), (1, -10), (-1, -10)}


def test_the_pool_is_bounded() -> None:
    patch = RandomPatch(1.0, min_pool=1, pool_size=4)
    for _ in range(20):
        patch(torch.zeros(3, 20, 10, dtype=torch.uint8))
    assert len(patch.pool) == 4


def test_patches_follow_from_seeds_and_history() -> None:
    cfg = config(RPT={"PROB": 1.0})
    images = [picture(seed=seed) for seed in range(130)]
    runs = []
    for _ in range(2):
        transform = build_train_transform(cfg)
        runs.append([seeded(transform, image, seed) for seed, image in enumerate(images)])
        torch.rand(3)
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_erased_pixels_are_not_jittered() -> None:
    cfg = config(CJ={"PROB": 1.0, "BRIGHTNESS": 0.5}, REA={"PROB": 1.0}, FLIP={})
    for result in outcomes(cfg, Image.new("RGB", (12, 24), (10, 10, 10)), 20):
        assert [124, 116, 104] in result.flatten(1).T.tolist()


def test_further_transforms_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRANSFORMS, "_entries", dict(TRANSFORMS._entries))
    monkeypatch.setattr(TRANSFORMS, "_names", dict(TRANSFORMS._names))

    @TRANSFORMS.register("Invert")
    def invert(cfg: CfgNode) -> Callable[[Tensor], Tensor]:
        """Inverts."""
        return lambda image: 255 - image

    cfg = config()
    cfg.INPUT.TRANSFORMS = ["Invert"]
    image = picture()
    torch.testing.assert_close(build_train_transform(cfg)(image), 255 - plain(image), atol=0, rtol=0)
    cfg.INPUT.TRANSFORMS = ["Inverse"]
    with pytest.raises(RegistryError, match="Did you mean Invert"):
        build_train_transform(cfg)


def test_augmix_also_moves_images() -> None:
    # The edge of a step of light stays where it is when colours alone are changed.
    step = np.zeros((60, 60, 3), dtype=np.uint8)
    step[:, 30:] = 255
    cfg = config(AUGMIX={"PROB": 1.0})
    cfg.INPUT.SIZE_TRAIN = [60, 60]
    results = [result[0].float() for result in outcomes(cfg, Image.fromarray(step), 100)]
    moved = [bool((result[5:-5, 20:40].diff(dim=-1).abs() > 1).sum(dim=-1).max() > 1) for result in results]
    assert sum(moved) > 5
