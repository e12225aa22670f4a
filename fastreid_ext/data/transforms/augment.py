"""The augmentations that a config can switch on, made of torchvision's."""

from __future__ import annotations

from torch import nn
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

from fastreid_ext.config import CfgNode
from fastreid_ext.data.transforms.patch import RandomPatch
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__: list[str] = []


@TRANSFORMS.register("AutoAugment", source="Cubuk et al. 2019, arXiv:1805.09501")
def auto_augment(cfg: CfgNode) -> nn.Module:
    """ImageNet's AutoAugment policy on grey, with probability INPUT.AUTOAUG.PROB."""
    transform: nn.Module = v2.RandomApply(
        [v2.AutoAugment(AutoAugmentPolicy.IMAGENET, fill=128)], p=cfg.INPUT.AUTOAUG.PROB
    )
    return transform


@TRANSFORMS.register("RandomResizedCrop")
def random_resized_crop(cfg: CfgNode) -> nn.Module:
    """A random part of the image, resized to INPUT.CROP.SIZE."""
    crop = cfg.INPUT.CROP
    transform: nn.Module = v2.RandomResizedCrop(
        list(crop.SIZE), tuple(crop.SCALE), tuple(crop.RATIO), InterpolationMode.BICUBIC, antialias=True
    )
    return transform


@TRANSFORMS.register("PadCrop")
def pad_crop(cfg: CfgNode) -> nn.Module:
    """Borders of INPUT.PADDING.SIZE pixels, then a random crop of the size of before."""
    size = cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else cfg.INPUT.SIZE_TRAIN
    pad = v2.Pad(cfg.INPUT.PADDING.SIZE, padding_mode=cfg.INPUT.PADDING.MODE)
    transform: nn.Module = v2.Compose([pad, v2.RandomCrop(list(size))])
    return transform


@TRANSFORMS.register("RandomHorizontalFlip")
def random_horizontal_flip(cfg: CfgNode) -> nn.Module:
    """The mirror image, with probability INPUT.FLIP.PROB."""
    transform: nn.Module = v2.RandomHorizontalFlip(cfg.INPUT.FLIP.PROB)
    return transform


@TRANSFORMS.register("ColorJitter")
def color_jitter(cfg: CfgNode) -> nn.Module:
    """Random brightness, contrast, saturation and hue, with probability INPUT.CJ.PROB."""
    node = cfg.INPUT.CJ
    transform: nn.Module = v2.RandomApply(
        [v2.ColorJitter(node.BRIGHTNESS, node.CONTRAST, node.SATURATION, node.HUE)], p=node.PROB
    )
    return transform


@TRANSFORMS.register("RandomAffine")
def random_affine(cfg: CfgNode) -> nn.Module:
    """Random rotation by 10 degrees, scale of 0.9 to 1.1 and shear of 0.1 degrees, on black."""
    transform: nn.Module = v2.RandomAffine(degrees=10, scale=(0.9, 1.1), shear=0.1)
    return transform


@TRANSFORMS.register("AugMix", source="Hendrycks et al. 2020, arXiv:1912.02781")
def aug_mix(cfg: CfgNode) -> nn.Module:
    """Three chains of one mild distortion each, mixed at random, with probability INPUT.AUGMIX.PROB."""
    # The first of torchvision's ten magnitudes is none: of two, it draws what FastReID's severity 1 draws on average.
    mix = v2.AugMix(severity=2, mixture_width=3, chain_depth=1, alpha=0.1, all_ops=False)
    transform: nn.Module = v2.RandomApply([mix], p=cfg.INPUT.AUGMIX.PROB)
    return transform


@TRANSFORMS.register("RandomErasing", source="Zhong et al. 2020, arXiv:1708.04896")
def random_erasing(cfg: CfgNode) -> nn.Module:
    """A random rectangle of 2 to 40 percent filled with INPUT.REA.VALUE, with probability INPUT.REA.PROB."""
    value = [round(channel) for channel in cfg.INPUT.REA.VALUE]
    transform: nn.Module = v2.RandomErasing(cfg.INPUT.REA.PROB, scale=(0.02, 0.4), ratio=(0.3, 1 / 0.3), value=value)
    return transform


@TRANSFORMS.register("RandomPatch", source="Zhou et al. 2019, arXiv:1905.00953")
def random_patch(cfg: CfgNode) -> nn.Module:
    """A patch of an earlier image, with probability INPUT.RPT.PROB."""
    return RandomPatch(cfg.INPUT.RPT.PROB)
