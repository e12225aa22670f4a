"""The fused pipeline against its transforms one after another, and what a config makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.data.image_store import Rows
from fastreid_ext.data.transforms import (
    TRANSFORMS,
    AutoAugment,
    BatchTransform,
    ColorJitter,
    Normalize,
    PadCropFlip,
    Params,
    Pipeline,
    RandomAffine,
    RandomErasing,
    RandomPatch,
    RandomResizedCrop,
    Size,
    build_test_pipeline,
    build_train_pipeline,
    choose,
)
from fastreid_ext.registry import RegistryError

SIZE = (24, 12)
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
SWITCHES = ["AUTOAUG", "CROP", "PADDING", "FLIP", "CJ", "AFFINE", "AUGMIX", "REA", "RPT"]


def pictures(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Tensor:
    """Smooth colours between 30 and 220."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(30, 220, (count, 3, 4, 3), generator=generator, dtype=torch.uint8)
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear")


def config(**options: dict[str, Any]) -> CfgNode:
    """Small images; `FLIP={"PROB": 1.0}` switches FLIP on with that option."""
    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST, cfg.INPUT.CROP.SIZE = list(SIZE), list(SIZE), [16, 8]
    for name, values in options.items():
        cfg.INPUT[name].ENABLED = True
        for key, value in values.items():
            cfg.INPUT[name][key] = value
    return cfg


def everything() -> CfgNode:
    """All switches on; what has a probability has a half."""
    return config(**{name: {"PROB": 0.5} if "PROB" in get_cfg().INPUT[name] else {} for name in SWITCHES})


def run(pipeline: Pipeline, images: Tensor, seed: int = 0) -> Tensor:
    drawn = pipeline.draw(np.random.default_rng(seed), len(images), (images.shape[-2], images.shape[-1]))
    return pipeline(Rows(images, np.arange(len(images))), drawn)


def by_hand(images: Tensor) -> Tensor:
    """Normalised as the definition says."""
    return (images.float() - torch.tensor(MEAN).view(3, 1, 1)) * torch.tensor(STD).reciprocal().view(3, 1, 1)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 30])
@pytest.mark.parametrize("channels_last", [False, True])
def test_normalize_equals_its_definition(count: int, channels_last: bool) -> None:
    images = pictures(count)
    before = images.clone()
    normalize = Normalize(MEAN, STD, channels_last=channels_last)
    result = normalize(images)
    assert torch.equal(result, by_hand(images))
    assert result.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert torch.equal(images, before)


def test_the_model_normalises_in_the_same_way() -> None:
    from fastreid_ext.modeling.meta_arch import Baseline

    model = Baseline(backbone=torch.nn.Identity(), heads=torch.nn.Flatten(), pixel_mean=MEAN, pixel_std=STD).eval()
    images = pictures(3)
    batch = {"images": Normalize(MEAN, STD)(images), "normalized": True}
    assert torch.equal(model(batch), model({"images": images}))
    assert torch.equal(model(batch), model(images))


@pytest.mark.parametrize("channels_last", [False, True])
def test_equals_its_transforms_one_after_another(channels_last: bool) -> None:
    images = pictures(40)
    before = images.clone()
    cfg = everything()
    cfg.MODEL.CHANNELS_LAST = channels_last
    pipeline = build_train_pipeline(cfg)
    size, rng = SIZE, np.random.default_rng(3)
    expected = images
    for transform in (*pipeline.before, pipeline.window, *pipeline.after):
        assert transform is not None
        chosen = rng.random(40) < transform.prob
        params = transform.draw(rng, 40, size)
        each = [
            transform.apply(image[None], choose(params, slice(i, i + 1)))[0] if chosen[i] else image
            for i, image in enumerate(expected)
        ]
        expected, size = torch.stack(each), transform.output_size(size)
    floats = by_hand(expected)
    for finish in (pipeline.erasing, *pipeline.finishing):
        assert isinstance(finish, BatchTransform)
        floats = finish.apply(floats, finish.draw(rng, 40, size))
    result = run(pipeline, images, 3)
    assert result.shape == (40, 3, 16, 8)
    torch.testing.assert_close(result, floats, atol=0, rtol=0)
    assert result.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert torch.equal(images, before)


def test_the_order_is_fastreids() -> None:
    pipeline = build_train_pipeline(everything())
    names = [
        type(t).__name__
        for t in (*pipeline.before, pipeline.window, *pipeline.after, pipeline.erasing, *pipeline.finishing)
    ]
    assert names == [
        "AutoAugment",
        "RandomResizedCrop",
        "PadCropFlip",
        "ColorJitter",
        "RandomAffine",
        "AugMix",
        "RandomErasing",
        "RandomPatch",
    ]


def test_nothing_is_on_by_default() -> None:
    images = pictures(5)
    pipeline = build_train_pipeline(config())
    assert pipeline.draw(np.random.default_rng(0), 5, SIZE) == []
    assert torch.equal(run(pipeline, images), by_hand(images))


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_changes_images_and_follows_from_the_seed(name: str) -> None:
    cfg = config(**{name: {"PROB": 1.0} if "PROB" in config().INPUT[name] else {}})
    images = pictures(20)
    pipeline = build_train_pipeline(cfg)
    first = run(pipeline, images, 5)
    assert first.shape == (20, 3, *((16, 8) if name == "CROP" else SIZE))
    assert name == "CROP" or not torch.equal(first, by_hand(images))
    torch.manual_seed(7)
    np.random.seed(7)  # the generator that a transform might use unasked
    assert torch.equal(run(build_train_pipeline(cfg), images, 5), first)
    assert name == "FLIP" or not torch.equal(run(pipeline, images, 6), first)


@pytest.mark.parametrize("name", ["AUTOAUG", "CJ", "AUGMIX", "REA", "RPT", "FLIP"])
def test_probabilities(name: str) -> None:
    images = pictures(600)
    plain = by_hand(images)
    unchanged = run(build_train_pipeline(config(**{name: {"PROB": 0.0}})), images)
    assert torch.equal(unchanged, plain)
    changed = (run(build_train_pipeline(config(**{name: {"PROB": 0.4}})), images) != plain).flatten(1).any(dim=1)
    # Many draws of some leave an image as it is.
    least = {"REA": 0.34, "FLIP": 0.34, "AUGMIX": 0.1}.get(name, 0.2)
    assert least < changed.float().mean() < 0.46


def test_a_part_of_a_batch_is_augmented_as_within_the_whole() -> None:
    images = pictures(16)
    pipeline = build_train_pipeline(config(**{name: {} for name in SWITCHES if name != "RPT"}))
    drawn = pipeline.draw(np.random.default_rng(0), 16, SIZE)
    whole = pipeline(images, drawn)
    part = slice(4, 12)
    assert torch.equal(pipeline(images[part], [each.part(part) for each in drawn]), whole[part])
    rows = np.array([7, 3, 3, 0])
    picked = pipeline(Rows(images, rows), [each.part(slice(4)) for each in drawn])
    assert torch.equal(picked, pipeline(images[rows], [each.part(slice(4)) for each in drawn]))


def test_results_are_never_overwritten() -> None:
    pipeline = build_train_pipeline(everything())
    kept = [run(pipeline, pictures(8, seed=seed), seed) for seed in range(20)]
    for seed, batch in enumerate(kept):
        assert torch.equal(batch, run(build_train_pipeline(everything()), pictures(8, seed=seed), seed))


def test_erased_pixels_are_not_jittered() -> None:
    cfg = config(CJ={"PROB": 1.0, "BRIGHTNESS": 0.5}, REA={"PROB": 1.0}, FLIP={})
    result = run(build_train_pipeline(cfg), torch.full((20, 3, *SIZE), 10, dtype=torch.uint8))
    # The default value is the mean.
    assert all((image.abs().amax(dim=0) < 1e-6).any() for image in result)


def test_erasing_fills_with_the_value_of_the_config() -> None:
    cfg = config(REA={"PROB": 1.0, "VALUE": [255.0, 0.0, 10.0]})
    result = run(build_train_pipeline(cfg), pictures(5))
    fill = by_hand(torch.tensor([255.0, 0.0, 10.0]).view(1, 3, 1, 1)).view(3, 1, 1)
    assert all(((image - fill).abs().amax(dim=0) < 1e-5).any() for image in result)


@pytest.mark.parametrize("size", [SIZE, (25, 13), (30, 4), (9, 5)])
def test_test_images_are_cropped_in_the_middle_and_not_augmented(size: tuple[int, int]) -> None:
    cfg = everything()
    images = pictures(4, size)
    expected = by_hand(functional.center_crop(images, [16, 8]))
    assert torch.equal(build_test_pipeline(cfg)(Rows(images, np.arange(4))), expected)
    assert torch.equal(build_test_pipeline(cfg)(images), expected)
    assert torch.equal(build_test_pipeline(config())(images), by_hand(images))


def test_further_transforms_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRANSFORMS, "_entries", dict(TRANSFORMS._entries))
    monkeypatch.setattr(TRANSFORMS, "_names", dict(TRANSFORMS._names))

    @TRANSFORMS.register("Invert")
    class Invert(BatchTransform):
        """Inverts."""

        def __init__(self, cfg: CfgNode) -> None:
            super().__init__()

        def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
            return {}

        def apply(self, images: Tensor, params: Params) -> Tensor:
            return 255 - images

    cfg = config(REA={"PROB": 1.0})
    cfg.INPUT.TRANSFORMS = ["Invert"]
    images = pictures(4)
    inverted = by_hand(255 - images)
    result = run(build_train_pipeline(cfg), images)
    assert ((result == inverted) | (result.abs() < 1e-6)).all()
    cfg.INPUT.TRANSFORMS = ["Inverse"]
    with pytest.raises(RegistryError, match="Did you mean Invert"):
        build_train_pipeline(cfg)


@pytest.mark.parametrize(
    "transform",
    [AutoAugment, ColorJitter, PadCropFlip, RandomAffine, RandomErasing, RandomPatch, RandomResizedCrop],
)
def test_each_transform_works_alone_without_a_config(transform: type[BatchTransform]) -> None:
    made = transform(size=(16, 8)) if transform is RandomResizedCrop else transform()
    images = pictures(8)
    given = by_hand(images) if transform is RandomErasing else images
    before = given.clone()
    result = made(given, np.random.default_rng(0))
    assert result.shape == (8, 3, *made.output_size(SIZE))
    assert result.dtype == given.dtype
    assert torch.equal(given, before)


def test_the_way_of_a_gpu_gives_the_same_batch() -> None:
    """Its operations also run on a CPU, in whole batches instead of in one compiled pass."""
    images = pictures(24)
    for cfg in (config(FLIP={}, PADDING={}), everything(), config(CROP={})):
        pipeline = build_train_pipeline(cfg)
        drawn = pipeline.draw(np.random.default_rng(2), 24, SIZE)
        batch = pipeline._on_gpu(images, drawn)
        if pipeline.erasing is not None:
            pipeline.erasing.apply_(batch, drawn[-2].params)
            pipeline.finishing[0].apply_(batch, drawn[-1].params)
        assert torch.equal(batch, pipeline(images, drawn))


@pytest.mark.parametrize(("name", "key"), [("RandomErasing", "INPUT.REA"), ("RandomPatch", "INPUT.RPT")])
def test_transforms_of_floats_are_no_further_transforms(name: str, key: str) -> None:
    cfg = config()
    cfg.INPUT.TRANSFORMS = [name]
    with pytest.raises(ConfigError, match=f"{name} works on normalised images; switch on {key}"):
        build_train_pipeline(cfg)


def test_a_transform_may_come_twice() -> None:
    cfg = config(AFFINE={})
    cfg.INPUT.TRANSFORMS = ["RandomAffine", "PadCropFlip"]
    names = [type(transform).__name__ for transform in build_train_pipeline(cfg).after]
    assert names == ["RandomAffine", "RandomAffine", "PadCropFlip"]
