"""The Spatial Alignment Module: an image is to be seen at the same positions, whatever it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import normalize
from fastreid_ext.functional.precision import full_precision, widen
from fastreid_ext.modeling.losses import LOSSES, MapLoss
from fastreid_ext.projects.msinet.maximum_activations import maximum_activations, projected_maximum_activations
from fastreid_ext.projects.msinet.position_activation import PositionActivation
from fastreid_ext.registry import close_matches
from fastreid_ext.utils.dist import gather

__all__ = ["Align", "Layout", "SpatialAlignmentModule", "spatial_alignment_loss"]

Align = Literal["positives", "negatives", "unified", "separated", "pam-self"]
Layout = Literal["paper", "published"]


def spatial_alignment_loss(
    maps: Tensor,
    pids: Tensor,
    *,
    self_activation: PositionActivation | None = None,
    align: Align | None = None,
    layout: Layout = "paper",
    others: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """One minus the cosine similarity of an anchor's activation vectors, averaged over pairs, then anchors (eq. 8).

    An activation vector a(i, j) has the largest activation of each position of anchor i with the positions of image j
    (eq. 7). An anchor is a positive of its own, and pairs of images include those of an image with itself, as in the
    authors' code. A vector of zeros is similar to none. An anchor without negatives has no loss of negatives.

    Args:
        maps: a backbone's last maps of the anchors.
        pids: of the anchors.
        self_activation: for "pam-self", which is the default with it; without it "separated" is.
        align: Table 5: "positives" with each other, "negatives" with each other, "unified" for all images with each
            other, "separated" for the sum of the first two, "pam-self" for positives with `self_activation` and
            negatives with each other.
        layout: "published" takes a(j, i) for a(i, j), as the authors' code does: vectors then have the positions of
            the other images.
        others: maps and pids of the images to compare with, the anchors among them; by default the anchors.

    Shape:
        maps: (A, C, h, w), and (B, C, h, w) of others. pids: (A,), and (B,) of others.
        Result: scalar, at least float32.

    Raises:
        ValueError: other shapes, an unknown choice, or "pam-self" without `self_activation`.
    """
    align = align or ("separated" if self_activation is None else "pam-self")
    _check_choices(align, layout)
    maps = _checked(maps, pids)
    compared, other_pids = (maps, pids) if others is None else (_checked(*others), others[1])
    with full_precision(maps.device.type):
        if align == "pam-self":
            directions, of_itself = _directions_and_own(maps, compared, layout, self_activation)
        else:
            directions, of_itself = _directions(maps, compared, layout), None
        same = pids[:, None] == other_pids
        losses = directions.new_zeros(len(directions))
        if of_itself is not None:
            losses = losses + _with_one(directions, same, of_itself)
        if align in ("positives", "separated"):
            losses = losses + _with_each_other(directions, same)
        if align in ("negatives", "separated", "pam-self"):
            losses = losses + _with_each_other(directions, ~same)
        if align == "unified":
            losses = losses + _with_each_other(directions, torch.ones_like(same))
    return losses.sum() / max(1, len(losses))


@LOSSES.register("SpatialAlignmentLoss", source="Gu et al., CVPR 2023, eqs. 7-8", aliases=("SpatialAlignmentModule",))
class SpatialAlignmentModule(MapLoss):
    """Spatial alignment loss of a backbone's last map, with a Position Activation Module where it takes one.

    Args:
        channels: of the maps.
        align: which images are aligned with what, as in `spatial_alignment_loss`.
        layout: whose positions activation vectors have, as in `spatial_alignment_loss`.

    Raises:
        ValueError: an unknown choice.
    """

    key = "sam"
    node = "SAM"

    @configurable
    def __init__(self, channels: int, *, align: Align = "pam-self", layout: Layout = "paper") -> None:
        super().__init__()
        _check_choices(align, layout)
        self.channels = channels
        self.align: Align = align
        self.layout: Layout = layout
        # DistributedDataParallel would wait for the gradient of weights that are not used.
        self.position_activation = PositionActivation(channels) if align == "pam-self" else None

    @classmethod
    def from_config(cls, cfg: CfgNode, feature_dim: int) -> dict[str, Any]:  # type: ignore[override]  # maps have channels
        """Keyword arguments from `MODEL.LOSSES.SAM`."""
        node = cfg.MODEL.LOSSES.SAM
        return {"channels": feature_dim, "align": node.ALIGN, "layout": node.LAYOUT}

    def forward(self, maps: Tensor, pids: Tensor, others: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Mean over the anchors.

        Args:
            maps: of the anchors.
            pids: of the anchors.
            others: maps and pids of the images to compare with, the anchors among them; by default the anchors.

        Shape:
            maps: (A, C, h, w), and (B, C, h, w) of others. pids: (A,), and (B,) of others.
            Result: scalar, at least float32.

        Raises:
            ValueError: other shapes.
        """
        if maps.dim() == 4 and maps.shape[1] != self.channels:
            raise ValueError(f"a spatial alignment of {self.channels} channels cannot take maps {tuple(maps.shape)}")
        return spatial_alignment_loss(
            maps,
            pids,
            self_activation=self.position_activation,
            align=self.align,
            layout=self.layout,
            others=others,
        )

    def from_outputs(self, outputs: Mapping[str, Any], pids: Tensor) -> Tensor:
        """The loss of this rank's `outputs["map"]` as anchors, compared with the maps of all ranks.

        Shape:
            pids: (B,), B equal on all ranks.
            Result: scalar.
        """
        maps = outputs["map"]
        gathered = gather(maps)
        loss: Tensor = self(maps, pids, None if gathered is maps else (gathered, gather(pids)))
        return loss


def _checked(maps: Tensor, pids: Tensor) -> Tensor:
    """The maps in at least float32."""
    if maps.dim() != 4 or pids.shape != maps.shape[:1]:
        raise ValueError(
            f"the spatial alignment takes maps (B, C, h, w) and one identity an image (B,), "
            f"not {tuple(maps.shape)} and {tuple(pids.shape)}"
        )
    return widen(maps)


def _directions(anchors: Tensor, compared: Tensor, layout: Layout) -> Tensor:
    """Activation vectors of unit length, (A, B, N)."""
    if layout == "published":
        return normalize(maximum_activations(compared, anchors).transpose(0, 1))
    return normalize(maximum_activations(anchors, compared))


def _directions_and_own(
    anchors: Tensor, compared: Tensor, layout: Layout, own: PositionActivation | None
) -> tuple[Tensor, Tensor]:
    """Activation vectors of unit length, (A, B, N), and those that the anchors give themselves, (A, N)."""
    if own is None:
        raise ValueError("align 'pam-self' needs self_activation: a PositionActivation")
    if layout == "published" and compared is not anchors:
        return _directions(anchors, compared, layout), normalize(own(anchors))
    maxima, projected = projected_maximum_activations(anchors, compared, own.projection(anchors.dtype))
    # Between the same images, a(j, i) is the transpose of what a(i, j) are.
    maxima = maxima.transpose(0, 1) if layout == "published" else maxima
    return normalize(maxima), normalize(own.activations(projected))


def _mean_direction(directions: Tensor, mask: Tensor) -> Tensor:
    """Mean of the unit vectors of each anchor's selected images, (A, N)."""
    weights = mask.to(directions.dtype) / mask.sum(1, keepdim=True).clamp_min(1)
    return (weights[:, None] @ directions).squeeze(1)


def _with_each_other(directions: Tensor, mask: Tensor) -> Tensor:
    """Loss of each anchor: the mean cosine of all pairs of unit vectors is the squared length of their mean."""
    return torch.where(mask.any(1), 1 - _mean_direction(directions, mask).square().sum(1), 0)


def _with_one(directions: Tensor, mask: Tensor, given: Tensor) -> Tensor:
    """Loss of each anchor: the mean cosine with one unit vector is the product of that and their mean."""
    return torch.where(mask.any(1), 1 - (_mean_direction(directions, mask) * given).sum(1), 0)


def _check_choices(align: str, layout: str) -> None:
    for name, choice, choices in (("align", align, get_args(Align)), ("layout", layout, get_args(Layout))):
        if choice not in choices:
            hint = "".join(f" Did you mean {match}?" for match in close_matches(choice, choices, 1))
            raise ValueError(
                f"unknown {name} '{choice}' of the spatial alignment (MODEL.LOSSES.SAM.{name.upper()}).{hint} "
                f"Choose one of {', '.join(choices)}"
            )
