"""Augmentation of whole batches on their device, in FastReID's order."""

from fastreid_ext.data.transforms.aug_mix import AugMix
from fastreid_ext.data.transforms.auto_augment import AutoAugment
from fastreid_ext.data.transforms.base import BatchTransform, Params, Size, choose, on_device
from fastreid_ext.data.transforms.build import build_test_pipeline, build_train_pipeline
from fastreid_ext.data.transforms.color_jitter import ColorJitter
from fastreid_ext.data.transforms.normalize import Normalize
from fastreid_ext.data.transforms.pipeline import Drawn, Pipeline
from fastreid_ext.data.transforms.random_affine import RandomAffine
from fastreid_ext.data.transforms.random_erasing import RandomErasing
from fastreid_ext.data.transforms.random_patch import RandomPatch
from fastreid_ext.data.transforms.registry import TRANSFORMS
from fastreid_ext.data.transforms.resized_crop import RandomResizedCrop
from fastreid_ext.data.transforms.window import PadCropFlip

__all__ = [
    "TRANSFORMS",
    "AugMix",
    "AutoAugment",
    "BatchTransform",
    "ColorJitter",
    "Drawn",
    "Normalize",
    "PadCropFlip",
    "Params",
    "Pipeline",
    "RandomAffine",
    "RandomErasing",
    "RandomPatch",
    "RandomResizedCrop",
    "Size",
    "build_test_pipeline",
    "build_train_pipeline",
    "choose",
    "on_device",
]
