"""Pipelines from a config."""

from __future__ import annotations

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.transforms.base import BatchTransform
from fastreid_ext.data.transforms.normalize import Normalize
from fastreid_ext.data.transforms.pipeline import Pipeline
from fastreid_ext.data.transforms.registry import TRANSFORMS

_FINISHING = {"RandomErasing": "INPUT.REA", "RandomPatch": "INPUT.RPT"}

__all__ = ["build_test_pipeline", "build_train_pipeline"]


def build_train_pipeline(cfg: CfgNode) -> Pipeline:
    """The augmentations that the config switches on, in FastReID's order, and the model's normalisation."""
    inputs = cfg.INPUT
    before = _on(AutoAugment=inputs.AUTOAUG.ENABLED, RandomResizedCrop=inputs.CROP.ENABLED)
    after = _on(ColorJitter=inputs.CJ.ENABLED, RandomAffine=inputs.AFFINE.ENABLED, AugMix=inputs.AUGMIX.ENABLED)
    moves = inputs.PADDING.ENABLED or inputs.FLIP.ENABLED
    return Pipeline(
        _normalize(cfg),
        before=[TRANSFORMS.get(name)(cfg) for name in before],
        window=TRANSFORMS.get("PadCropFlip")(cfg) if moves else None,
        after=[TRANSFORMS.get(name)(cfg) for name in after] + [_further(cfg, name) for name in inputs.TRANSFORMS],
        erasing=TRANSFORMS.get("RandomErasing")(cfg) if inputs.REA.ENABLED else None,
        finishing=[TRANSFORMS.get("RandomPatch")(cfg)] if inputs.RPT.ENABLED else [],
    )


def build_test_pipeline(cfg: CfgNode) -> Pipeline:
    """The model's normalisation, and the middle of the images when INPUT.CROP is enabled."""
    crop = cfg.INPUT.CROP
    return Pipeline(_normalize(cfg), centre_crop=tuple(crop.SIZE) if crop.ENABLED else None)


def _normalize(cfg: CfgNode) -> Normalize:
    return Normalize(cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, channels_last=cfg.MODEL.CHANNELS_LAST)


def _on(**switches: bool) -> list[str]:
    return [name for name, enabled in switches.items() if enabled]


def _further(cfg: CfgNode, name: str) -> BatchTransform:
    if name in _FINISHING:
        raise ConfigError(f"INPUT.TRANSFORMS: {name} works on normalised images; switch on {_FINISHING[name]} instead")
    transform: BatchTransform = TRANSFORMS.get(name)(cfg)
    return transform
