"""Pipelines from a config."""

from __future__ import annotations

from fastreid_ext.config import CfgNode
from fastreid_ext.data.transforms.base import BatchTransform
from fastreid_ext.data.transforms.normalize import Normalize
from fastreid_ext.data.transforms.pipeline import Finishing, Pipeline
from fastreid_ext.data.transforms.registry import TRANSFORMS
from fastreid_ext.utils.threads import default_threads

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
    finishing = {"RandomErasing": inputs.REA.ENABLED, "RandomPatch": inputs.RPT.ENABLED}
    moves = inputs.PADDING.ENABLED or inputs.FLIP.ENABLED
    return Pipeline(
        _normalize(cfg),
        before=_transforms(cfg, before),
        window=TRANSFORMS.get("PadCropFlip")(cfg) if moves else None,
        after=_transforms(cfg, after),
        finishing=_finishing(cfg, finishing),
        threads=_threads(cfg),
    )


def build_test_pipeline(cfg: CfgNode) -> Pipeline:
    """The model's normalisation, and the middle of the images when INPUT.CROP is enabled."""
    crop = cfg.INPUT.CROP
    return Pipeline(_normalize(cfg), centre_crop=tuple(crop.SIZE) if crop.ENABLED else None, threads=_threads(cfg))


def _normalize(cfg: CfgNode) -> Normalize:
    return Normalize(cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, channels_last=cfg.MODEL.CHANNELS_LAST)


def _threads(cfg: CfgNode) -> int:
    return min(cfg.DATALOADER.NUM_WORKERS or default_threads(), default_threads())


def _transforms(cfg: CfgNode, switches: dict[str, bool]) -> list[BatchTransform]:
    return [TRANSFORMS.get(name)(cfg) for name, enabled in switches.items() if enabled]


def _finishing(cfg: CfgNode, switches: dict[str, bool]) -> list[Finishing]:
    return [TRANSFORMS.get(name)(cfg) for name, enabled in switches.items() if enabled]
