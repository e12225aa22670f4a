"""Pooling of a feature map to one feature, under FastReID's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastreid_ext.functional.precision import widen
from fastreid_ext.registry import Registry

__all__ = [
    "POOLINGS",
    "AdaptiveAvgMaxPool",
    "ClipGlobalAvgPool",
    "Flatten",
    "GeneralizedMeanPooling",
    "GeneralizedMeanPoolingP",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Identity",
    "MixedPool",
    "build_pooling",
]

POOLINGS = Registry("pooling layer")
"""Classes called without arguments; the module maps (B, C, h, w) to (B, C, 1, 1), save for Identity and Flatten."""


def build_pooling(name: str) -> nn.Module:
    """Makes the pooling layer registered as `name`.

    Raises:
        RegistryError: no pooling layer of that name.
    """
    pooling: nn.Module = POOLINGS.get(name)()
    return pooling


@POOLINGS.register()
class Identity(nn.Identity):
    """The map itself, for backbones whose map is pooled already."""


@POOLINGS.register()
class Flatten(nn.Flatten):
    """All values of the map in one row: (B, C, h, w) to (B, C * h * w)."""


@POOLINGS.register(aliases=("FastGlobalAvgPool",))
class GlobalAvgPool(nn.Module):
    """Mean over the map.

    Shape:
        x: (B, C, h, w).
        returns: (B, C, 1, 1).
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3), keepdim=True)


@POOLINGS.register()
class GlobalMaxPool(nn.AdaptiveMaxPool2d):
    """Maximum over the map.

    Shape:
        x: (B, C, h, w).
        returns: (B, C, 1, 1).
    """

    def __init__(self) -> None:
        super().__init__(1)


@POOLINGS.register()
class AdaptiveAvgMaxPool(nn.Module):
    """Mean plus maximum over the map.

    Shape:
        x: (B, C, h, w).
        returns: (B, C, 1, 1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean = GlobalAvgPool()
        self.maximum = GlobalMaxPool()

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.mean(x) + self.maximum(x)
        return pooled


@POOLINGS.register()
class ClipGlobalAvgPool(nn.Module):
    """Mean over the map, clipped to [0, 1].

    Shape:
        x: (B, C, h, w).
        returns: (B, C, 1, 1).
    """

    drops_negatives = True

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3), keepdim=True).clamp(0.0, 1.0)


@POOLINGS.register(source="Lee et al. 2016; Elezi et al. 2022 (Group Loss++), eq. 13")
class MixedPool(nn.Module):
    """Between mean and maximum over the map: `alpha` times the maximum plus `1 - alpha` times the mean.

    Shape:
        x: (B, C, h, w).
        returns: (B, C, 1, 1).
    """

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = float(alpha)

    def forward(self, x: Tensor) -> Tensor:
        return torch.lerp(x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True), self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


@POOLINGS.register(source="Radenović et al. 2018")
class GeneralizedMeanPooling(nn.Module):
    """Generalised mean over the map with a fixed exponent: 1 is the mean, infinity the maximum (GeM, Eq. 3).

    Values below `eps` count as `eps`. Powers are taken in float32 at least and relative to the largest value, so that
    neither float16 nor a large exponent under- or overflows.

    Shape:
        x: (B, C, h, w).
        returns: (B, C, 1, 1), of the type of `x`.
    """

    drops_negatives = True
    p: float | Tensor

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = float(p)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        values = widen(x).clamp(min=self.eps)
        # The generalised mean is homogeneous: a constant factor passes through it, and through its gradient.
        largest = values.detach().amax(dim=(2, 3), keepdim=True)
        mean = (values / largest).pow(self.p).mean(dim=(2, 3), keepdim=True).pow(1.0 / self.p)
        return (mean * largest).to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={float(self.p):g}"


@POOLINGS.register(source="Radenović et al. 2018")
class GeneralizedMeanPoolingP(GeneralizedMeanPooling):
    """Generalised mean over the map with a learned exponent that starts at `p`.

    Shape:
        x: (B, C, h, w).
        returns: (B, C, 1, 1).
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__(p, eps)
        del self.p
        self.p = nn.Parameter(torch.full((1,), float(p)))
