"""From decoded images to uint8 tensors, with FastReID's augmentation in FastReID's order."""

from fastreid_ext.data.transforms import augment
from fastreid_ext.data.transforms.build import build_test_transform, build_train_transform
from fastreid_ext.data.transforms.patch import RandomPatch
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["TRANSFORMS", "RandomPatch", "augment", "build_test_transform", "build_train_transform"]
