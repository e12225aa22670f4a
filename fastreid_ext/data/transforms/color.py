"""Changes of colour of a batch, with one value an image.

Each function computes what torchvision's function for one image computes, with the images' values as a vector. Those
with factors, and `hue`, take bytes, or floats that are whole numbers from 0 to 255, and return the same type, so that
several of them in a row convert only once. Where an exact result is a whole number, as it often is at a factor of few
digits, the rounding of float32 decides, here as there, whether it falls to the level below.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import autocontrast, invert

from fastreid_ext.data.transforms.kernels import equalize_planes

__all__ = [
    "autocontrast",
    "brightness",
    "contrast",
    "equalize",
    "equalize_counted",
    "hue",
    "invert",
    "posterize",
    "saturation",
    "sharpness",
    "solarize",
]

_LUMA = (0.2989, 0.587, 0.114)
# torchvision returns from fractions of one to bytes by this factor.
_TO_BYTES = 255.999 / 255


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Every level times a factor.

    Shape:
        images: (B, 3, H, W), uint8 or whole floats.
        factors: (B,), not negative.
        Result: (B, 3, H, W), of the images' type.
    """
    return _levels(images.float() * _per_image(factors), images)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the image's mean grey by a factor.

    Shape:
        images: (B, 3, H, W), uint8 or whole floats.
        factors: (B,), not negative.
        Result: (B, 3, H, W), of the images' type.
    """
    ratios, levels = _per_image(factors), images.float()
    grey = _grey(levels).mean((-3, -2, -1), keepdim=True)
    return _levels((levels * ratios).add_(grey * (1 - ratios)), images)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the pixel's own grey by a factor.

    Shape:
        images: (B, 3, H, W), uint8 or whole floats.
        factors: (B,), not negative.
        Result: (B, 3, H, W), of the images' type.
    """
    ratios, levels = _per_image(factors), images.float()
    return _levels((levels * ratios).add_(_grey(levels).mul_(1 - ratios)), images)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Colours turned around the colour circle.

    On the circle of length 6, with red at 0, green at 2 and blue at 4, a primary colour has its full level up to a
    distance of 1, none of the chroma from a distance of 2, and falls linearly between. Thus colours need not be sorted
    into sextants.

    Shape:
        images: (B, 3, H, W), uint8 or whole floats.
        turns: (B,), parts of a whole turn, from -0.5 to 0.5.
        Result: (B, 3, H, W), of the images' type.
    """
    red, green, blue = images.float().unbind(1)
    brightest = torch.maximum(torch.maximum(red, green), blue)
    chroma = brightest - torch.minimum(torch.minimum(red, green), blue)
    per_chroma = chroma.clamp(min=1).reciprocal_()
    from_red = (green - blue).mul_(per_chroma)
    from_green = (blue - red).mul_(per_chroma).add_(2)
    from_blue = (red - green).mul_(per_chroma).add_(4)
    # Floats of 0 and 1 are compared and chosen by five times as fast as booleans.
    is_red, is_green = (torch.eq(level, brightest, out=torch.empty_like(level)) for level in (red, green))
    angle = from_blue.lerp_(from_green, is_green).lerp_(from_red, is_red).add_(6 * turns.float().view(-1, 1, 1))
    angle.sub_((angle / 6).floor_().mul_(6))
    lacking = torch.stack((2 - (angle - 3).abs_(), (angle - 2).abs_().sub_(1), (angle - 4).abs_().sub_(1)), 1)
    turned = brightest[:, None] - lacking.clamp_(0, 1).mul_(chroma[:, None])
    return _levels(turned.mul_(_TO_BYTES), images)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the smoothed image by a factor; the outermost pixels stay.

    Shape:
        images: (B, 3, H, W), uint8 or whole floats.
        factors: (B,), not negative.
        Result: (B, 3, H, W), of the images' type.
    """
    if min(images.shape[-2:]) <= 2:
        return images.clone()
    levels = images.to(torch.float32, copy=True)
    inner = levels[..., 1:-1, 1:-1]
    rows = levels[..., :-2, :] + levels[..., 1:-1, :]
    rows += levels[..., 2:, :]
    smooth = rows[..., :-2] + rows[..., 1:-1]
    smooth += rows[..., 2:]
    # The middle pixel weighs 5 of 13, the eight around it 1 each.
    smooth.add_(inner, alpha=4).mul_(1 / 13).round_()
    inner += smooth.sub_(inner).mul_(1 - _per_image(factors))
    return _levels(levels, images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Only the leading bits of every level.

    Shape:
        images: (B, 3, H, W), uint8.
        bits: (B,), whole numbers from 0 to 8.
        Result: (B, 3, H, W), uint8.
    """
    dropped = 8 - bits.to(torch.int32).view(-1, 1, 1, 1)
    return images & ((255 >> dropped) << dropped).to(torch.uint8)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Levels from a threshold on are inverted; above 255, none is.

    Shape:
        images: (B, 3, H, W), uint8.
        thresholds: (B,).
        Result: (B, 3, H, W), uint8.
    """
    first = thresholds.float().ceil().view(-1, 1, 1, 1)
    inverting = (images >= first.clamp(0, 255).to(torch.uint8)).view(torch.uint8)
    return inverting.mul((first <= 255).to(torch.uint8) * 255).bitwise_xor_(images)


def equalize(images: Tensor) -> Tensor:
    """Levels spread so that each is as common as the others, in every colour for itself, by Pillow's rule.

    A level is replaced by the number of pixels of lower levels, in steps of a 255th of all pixels but those of the
    highest level. It is torchvision's function, with the images of few pixels handled in the table of levels.

    Shape:
        images: (B, 3, H, W), uint8.
        Result: (B, 3, H, W), uint8.
    """
    if not images.numel():
        return images.clone()
    if not images.is_cuda:
        planes = images.reshape(-1, images.shape[-2] * images.shape[-1])
        equal = torch.empty_like(planes)
        equalize_planes(planes.numpy(), equal.numpy())
        return equal.view(images.shape)
    return equalize_counted(images)


def equalize_counted(images: Tensor) -> Tensor:
    """The same by operations on whole batches, for a GPU.

    Shape:
        images: (B, 3, H, W), uint8.
        Result: (B, 3, H, W), uint8.
    """
    pixels = images.flatten(2).long()
    one = torch.ones(1, dtype=torch.int32, device=images.device)
    counts = torch.zeros(*pixels.shape[:2], 256, dtype=torch.int32, device=images.device)
    counts.scatter_add_(2, pixels, one.expand_as(pixels))
    up_to = counts.cumsum(2)
    highest = counts.gather(2, up_to.argmax(2, keepdim=True))
    step = (pixels.shape[2] - highest) // 255
    spread = ((up_to - counts + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, spread, torch.arange(256, device=images.device)).to(torch.uint8)
    return table.gather(2, pixels).view_as(images)


def _per_image(values: Tensor) -> Tensor:
    return values.float().view(-1, 1, 1, 1)


def _grey(levels: Tensor) -> Tensor:
    """Luma of every pixel, a whole number as torchvision has it; (B, 1, H, W)."""
    red, green, blue = levels.unbind(1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2]).floor_()[:, None]


def _levels(values: Tensor, like: Tensor) -> Tensor:
    values = values.clamp_(0, 255)
    return values.floor_() if like.is_floating_point() else values.to(torch.uint8)
