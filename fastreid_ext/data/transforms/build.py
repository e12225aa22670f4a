"""Pipelines from a config."""

from __future__ import annotations

from fastreid_ext.config import CfgNode
from fastreid_ext.data.transforms.base import BatchTransform
from fastreid_ext.data.transforms.normalize import Normalize
from fastreid_ext.data.transforms.pipeline import Pipeline
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["build_test_pipeline", "build_train_pipeline"]


def build_train_pipeline(cfg: CfgNode) -> Pipeline:
    """The augmentations that the config switches on, in FastReID's order, and the model's normalisation."""
    inputs = cfg.INPUT
    before = {"AutoAugment": inputs.AUTOAUG.ENABLED, "RandomResizedCrop": inputs.CROP.ENABLED}
    after = {
        "ColorJitter": inputs.CJ.ENABLED,
        "RandomAffine": inputs.AFFINE.ENABLED,
        "AugMix": inputs.AUGMIX.ENABLED,
        **dict.fromkeys(inputs.TRANSFORMS, True),
    }
    moves = inputs.PADDING.ENABLED or inputs.FLIP.ENABLED
    return Pipeline(
        _normalize(cfg),
        before=_transforms(cfg, before),
        window=TRANSFORMS.get("PadCropFlip")(cfg) if moves else None,
        after=_transforms(cfg, after),
        erasing=TRANSFORMS.get("RandomErasing")(cfg) if inputs.REA.ENABLED else None,
        finishing=[TRANSFORMS.get("RandomPatch")(cfg)] if inputs.RPT.ENABLED else [],
    )


def build_test_pipeline(cfg: CfgNode) -> Pipeline:
    """The model's normalisation, and the middle of the images when INPUT.CROP is enabled."""
    crop = cfg.INPUT.CROP
    return Pipeline(_normalize(cfg), centre_crop=tuple(crop.SIZE) if crop.ENABLED else None)


def _normalize(cfg: CfgNode) -> Normalize:
    return Normalize(cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, channels_last=cfg.MODEL.CHANNELS_LAST)


def _transforms(cfg: CfgNode, switches: dict[str, bool]) -> list[BatchTransform]:
    return [TRANSFORMS.get(name)(cfg) for name, enabled in switches.items() if enabled]
