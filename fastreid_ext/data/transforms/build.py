"""Pipelines from a config."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from fastreid_ext.config import CfgNode
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["Pipeline", "build_test_transform", "build_train_transform"]

Transform = Callable[[Tensor], Tensor]


class Pipeline:
    """Resizes a decoded image as Pillow does (bicubic, antialiased) and applies transforms around that.

    Args:
        size: height and width.
        before: transforms of the image as it was decoded.
        after: transforms of the resized image.
        centre_crop: height and width of a crop from the middle, at the end.

    Shape:
        returns: (3, height, width), uint8.
    """

    def __init__(
        self,
        size: Sequence[int],
        *,
        before: Sequence[Transform] = (),
        after: Sequence[Transform] = (),
        centre_crop: Sequence[int] | None = None,
    ) -> None:
        self.size, self.before, self.after, self.centre_crop = tuple(size), before, after, centre_crop

    def __call__(self, image: Image.Image) -> Tensor:
        for transform in self.before:
            image = functional.to_pil_image(transform(functional.pil_to_tensor(image)))
        height, width = self.size
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        tensor: Tensor = functional.pil_to_tensor(image)
        for transform in self.after:
            tensor = transform(tensor)
        return tensor if self.centre_crop is None else functional.center_crop(tensor, list(self.centre_crop))


def build_train_transform(cfg: CfgNode) -> Pipeline:
    """Resize and the augmentations that the config switches on, in FastReID's order."""
    inputs = cfg.INPUT
    switches = {
        "RandomResizedCrop": inputs.CROP.ENABLED,
        "PadCrop": inputs.PADDING.ENABLED,
        "RandomHorizontalFlip": inputs.FLIP.ENABLED,
        "ColorJitter": inputs.CJ.ENABLED,
        "RandomAffine": inputs.AFFINE.ENABLED,
        "AugMix": inputs.AUGMIX.ENABLED,
        "RandomErasing": inputs.REA.ENABLED,
        "RandomPatch": inputs.RPT.ENABLED,
    }
    names = [name for name, enabled in switches.items() if enabled] + list(inputs.TRANSFORMS)
    after: list[Transform] = [TRANSFORMS.get(name)(cfg) for name in names]
    before = [TRANSFORMS.get("AutoAugment")(cfg)] if inputs.AUTOAUG.ENABLED else []
    return Pipeline(inputs.SIZE_TRAIN, before=before, after=after)


def build_test_transform(cfg: CfgNode) -> Pipeline:
    """Resize, and the middle of it when INPUT.CROP is enabled."""
    return Pipeline(cfg.INPUT.SIZE_TEST, centre_crop=cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else None)
