"""Embeddings under every mixed pooling and every slope of the last activation, from one pass over the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.last_layers import Place, swapped
from fastreid_ext.modeling.layers.pooling import GlobalAvgPool, GlobalMaxPool, MixedPool
from fastreid_ext.modeling.meta_arch.base import ReIDModel

__all__ = ["EveryPooling", "mixed", "trained_alpha"]

_TRAINED, _MEAN, _MAXIMUM = "trained", "mean", "maximum"
_NEGATIVE_MEAN, _NEGATIVE_MAXIMUM, _ZERO = "negative mean", "negative maximum", "zero"


class EveryPooling(nn.Module):
    """Embeddings with the pooling replaced by each of a few statistics of the map before the last ReLU.

    A leaky ReLU of slope s splits a value z into relu(z) - s relu(-z), and the maximum passes through it, as it rises.
    So a mixed pooling of a leaky map is a weighted sum of four statistics: mean and maximum of what is positive, and
    of what is negative. What follows the pooling in evaluation is affine in most heads (convolution, batch norm,
    concatenation with other branches), thus passes weighted sums on: see `mixed`.

    Args:
        model: takes a batch dict.
        activations: its last ReLUs; none where they shall stay.
        poolings: of its heads; none where they shall stay.
        flip: also embed mirror images.

    Attributes:
        rows: (statistic, whether of the mirror image) of each of the embeddings that stand side by side in the result.
    """

    def __init__(
        self, model: nn.Module, *, activations: Sequence[Place], poolings: Sequence[Place], flip: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.activations, self.poolings = list(activations), list(poolings)
        statistics = []
        if not poolings or trained_alpha(poolings) is None:
            statistics.append(_TRAINED)
        if poolings:
            statistics += [_MEAN, _MAXIMUM]
        if activations:
            statistics += [_NEGATIVE_MEAN, _NEGATIVE_MAXIMUM, _ZERO]
        self.rows = [(statistic, mirrored) for mirrored in (False, True)[: 1 + flip] for statistic in statistics]

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """All embeddings side by side.

        Shape:
            batch: `images` (B, 3, H, W).
            Result: (B, R D), for the R `rows`.
        """
        found = []
        with self._prepared() as (trunks, poolings):
            for statistic, mirrored in self.rows:
                if statistic == self.rows[0][0]:
                    images = batch["images"].flip(-1) if mirrored else batch["images"]
                    for trunk in trunks:
                        trunk.output = None
                for pooling in poolings:
                    pooling.statistic = statistic
                found.append(self.model({**batch, "images": images}).float())
        return torch.cat(found, dim=1)

    @contextmanager
    def _prepared(self) -> Iterator[tuple[list[_Once], list[_Statistic]]]:
        """The model with other modules in their places: parts that make maps run once, poolings as they are told."""
        trunks: list[_Once] = []
        poolings: list[_Statistic] = []

        def once(part: nn.Module) -> nn.Module:
            trunks.append(_Once(part))
            return trunks[-1]

        def statistic(pooling: nn.Module) -> nn.Module:
            poolings.append(_Statistic(pooling, before_relu=bool(self.activations)))
            return poolings[-1]

        parts = dict.fromkeys(("backbone", *getattr(self.model, "map_parts", ReIDModel.map_parts)))
        names = [name for name in parts if isinstance(getattr(self.model, name, None), nn.Module)]
        with ExitStack() as stack:
            stack.enter_context(swapped(self.activations, lambda _: nn.Identity()))
            stack.enter_context(swapped(self.poolings, statistic))
            stack.enter_context(swapped([(self.model, name) for name in names], once))
            yield trunks, poolings


class _Once(nn.Module):
    """Remembers its first output."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.output: Any = None

    def forward(self, x: Tensor) -> Any:
        if self.output is None:
            self.output = self.part(x)
        return self.output


class _Statistic(nn.Module):
    """One position of a map that says something of all of them."""

    def __init__(self, trained: nn.Module, *, before_relu: bool) -> None:
        super().__init__()
        self.trained, self.before_relu = trained, before_relu
        self.statistic = _TRAINED

    def forward(self, x: Tensor) -> Tensor:
        kept = x.relu() if self.before_relu else x
        if self.statistic == _TRAINED:
            pooled: Tensor = self.trained(kept)
            return pooled
        if self.statistic == _MEAN:
            return kept.mean(dim=(2, 3), keepdim=True)
        if self.statistic == _MAXIMUM:
            return kept.amax(dim=(2, 3), keepdim=True)
        if self.statistic == _NEGATIVE_MEAN:
            return x.neg().relu().mean(dim=(2, 3), keepdim=True)
        if self.statistic == _NEGATIVE_MAXIMUM:
            return x.amax(dim=(2, 3), keepdim=True).neg().relu()
        return x.new_zeros(*x.shape[:2], 1, 1)


def trained_alpha(poolings: Sequence[Place]) -> float | None:
    """The share of the maximum in the poolings of a model: 0 for means, 1 for maxima; None for others, or for both."""
    alphas = {_alpha(parent.get_submodule(name)) for parent, name in poolings}
    return alphas.pop() if len(alphas) == 1 else None


def _alpha(pooling: nn.Module) -> float | None:
    if type(pooling) is MixedPool:
        return pooling.alpha
    return {GlobalAvgPool: 0.0, GlobalMaxPool: 1.0}.get(type(pooling))


def mixed(embeddings: Mapping[str, Tensor], alpha: float | None, slope: float | None) -> Tensor:
    """The embeddings under a mixed pooling and a slope, of those under each statistic.

    Args:
        embeddings: by statistic, of the same images.
        alpha: share of the maximum; None for the pooling as it was trained, if that is no mixed one.
        slope: of the last activation; None for a ReLU, or whatever it is.

    Shape:
        embeddings: (N, D). Result: (N, D).
    """
    if alpha is None:
        return embeddings[_TRAINED]
    result = torch.lerp(embeddings[_MEAN], embeddings[_MAXIMUM], alpha)
    if slope is None:
        return result
    negative = torch.lerp(embeddings[_NEGATIVE_MEAN], embeddings[_NEGATIVE_MAXIMUM], alpha)
    # The weights of the statistics sum to 1 - slope; what a head adds to all embeddings has a weight of 1.
    return result - slope * (negative - embeddings[_ZERO])
