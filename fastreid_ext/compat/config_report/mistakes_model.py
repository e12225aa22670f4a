"""Networks that cannot have been meant so, and keys without effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from fastreid_ext.compat.config_report.facts import NAMES
from fastreid_ext.compat.config_report.finding import Finding, did_you_mean
from fastreid_ext.compat.config_report.modern import modern_config
from fastreid_ext.compat.config_report.network import Network, build_network
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.compat.config_report.rules import mistake
from fastreid_ext.compat.config_report.unread import unread_keys
from fastreid_ext.registry import close_matches

__all__ = ["network_of"]

_MEANT_FOR_A_NETWORK = ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.DEPTH", "MODEL.META_ARCHITECTURE")
"""Switches that a file may set behind a base whose other keys were meant to hold for its network, too."""


@lru_cache(maxsize=4)
def network_of(old: OldConfig) -> Network:
    """The network that the modern form of a config builds here."""
    return build_network(modern_config(old), classes=old.identities or 2)


@mistake
def keys_that_nothing_reads(old: OldConfig) -> Iterator[Finding]:
    """Keys that are set, but that another key makes meaningless.

    What a base sets for its own recipe, and the file then turns off, is left out.
    """
    for unread in unread_keys(old):
        meant = unread.switch in _MEANT_FOR_A_NETWORK or old.not_before(unread.key, unread.switch)
        if old.changed(unread.key) and meant:
            yield Finding(unread.key, f"Nothing reads it. {unread.why}")


@mistake
def width_of_the_map(old: OldConfig) -> Iterator[Finding]:
    """A FEAT_DIM that is not the backbone's."""
    width, said = network_of(old).feature_dim, old.cfg.MODEL.BACKBONE.FEAT_DIM
    if width and said != width:
        yield Finding(
            "MODEL.BACKBONE.FEAT_DIM",
            f"The backbone's map has {width:,} channels: FastReID fails on the first batch. Here the width is known, "
            f"and the key is not needed.",
        )


@mistake
def frozen_names(old: OldConfig) -> Iterator[Finding]:
    """Frozen layers that the network does not have."""
    network = network_of(old)
    parts = sorted({name.partition(".")[0] for name in network.modules})
    for layer in old.cfg.MODEL.FREEZE_LAYERS if network.shapes else ():
        if not any(_begins(name, layer) for name in network.shapes):
            matches = close_matches(layer, network.modules)
            known = did_you_mean(matches) or f" Its parts: {', '.join(parts)}."
            yield Finding(
                "MODEL.FREEZE_LAYERS",
                f"The network has no part {layer!r}: FastReID freezes nothing and says so in its log only; here it is "
                f"an error.{known}",
            )


@mistake
def half_a_freeze(old: OldConfig) -> Iterator[Finding]:
    """Layers without iterations, or iterations without layers."""
    layers, iterations = old.cfg.MODEL.FREEZE_LAYERS, old.cfg.SOLVER.FREEZE_ITERS
    if layers and not iterations:
        yield Finding("MODEL.FREEZE_LAYERS", "Nothing is frozen: SOLVER.FREEZE_ITERS is 0.")
    if iterations and not layers:
        yield Finding("SOLVER.FREEZE_ITERS", "Nothing is frozen: MODEL.FREEZE_LAYERS is empty.")


@mistake
def pooling_that_does_not_pool(old: OldConfig) -> Iterator[Finding]:
    """Identity or Flatten on a map of several positions."""
    pooling, family = old.cfg.MODEL.HEADS.POOL_LAYER, old.family
    if old.cfg.MODEL.HEADS.NAME not in NAMES["MODEL.HEADS.NAME"]:
        # What a head of the user's takes is not known.
        return
    if pooling == "Identity" and (family is None or family.convolutional):
        yield Finding(
            "MODEL.HEADS.POOL_LAYER",
            "The map is not pooled: FastReID's features are those of its top left corner. Take GlobalAvgPool.",
        )
    if pooling == "Flatten":
        yield Finding(
            "MODEL.HEADS.POOL_LAYER",
            "Leaves no map to FastReID's heads, which fail on the first batch. Take GlobalAvgPool.",
        )


@mistake
def neck_that_stands_still(old: OldConfig) -> Iterator[Finding]:
    """A neck that neither learns nor measures."""
    heads = old.cfg.MODEL.HEADS
    if heads.WITH_BNNECK and heads.NORM == "FrozenBN":
        yield Finding("MODEL.HEADS.NORM", "A new FrozenBN is the identity for ever: the neck does nothing. Take BN.")


@mistake
def scaled_linear_outputs(old: OldConfig) -> Iterator[Finding]:
    """A scale that was meant for cosines."""
    heads = old.cfg.MODEL.HEADS
    if heads.CLS_LAYER == "Linear" and heads.SCALE != 1:
        yield Finding(
            "MODEL.HEADS.SCALE",
            f"Multiplies the outputs of CLS_LAYER Linear, which are no cosines, by {heads.SCALE:g}: such a scale is "
            f"meant for ArcSoftmax, CosSoftmax and CircleSoftmax.",
        )


@mistake
def margin_without_scale(old: OldConfig) -> Iterator[Finding]:
    """Cosines that no scale spreads."""
    heads = old.cfg.MODEL.HEADS
    if heads.CLS_LAYER in ("ArcSoftmax", "CosSoftmax", "CircleSoftmax") and heads.SCALE == 1:
        yield Finding(
            "MODEL.HEADS.SCALE",
            f"Is 1, but {heads.CLS_LAYER} gives cosines, whose softmax is nearly flat: 30 to 64 is usual.",
        )


@mistake
def memory_of_broken_batches(old: OldConfig) -> Iterator[Finding]:
    """A memory that whole batches do not fill."""
    size, batch = old.cfg.MODEL.QUEUE_SIZE, old.cfg.SOLVER.IMS_PER_BATCH
    if old.cfg.MODEL.META_ARCHITECTURE == "MoCo" and batch > 0 and size % batch:
        yield Finding(
            "MODEL.QUEUE_SIZE",
            f"Is not a multiple of SOLVER.IMS_PER_BATCH {batch}: FastReID fails on the first batch; here any size of a "
            f"batch and more will do.",
        )


@mistake
def mgn_of_another_backbone(old: OldConfig) -> Iterator[Finding]:
    """MGN on what is no ResNet of bottlenecks."""
    backbone = old.cfg.MODEL.BACKBONE
    if old.cfg.MODEL.META_ARCHITECTURE != "MGN":
        return
    if backbone.NAME != "build_resnet_backbone":
        yield Finding("MODEL.BACKBONE.NAME", "MGN takes the stages of a ResNet apart: FastReID fails with another.")
    elif backbone.DEPTH in ("18x", "34x"):
        yield Finding("MODEL.BACKBONE.DEPTH", "FastReID's MGN fails without bottlenecks: 50x and deeper have them.")


def _begins(name: str, layer: str) -> bool:
    """Whether a state name begins with what FastReID takes for a pattern."""
    try:
        return re.match(layer, name) is not None
    except re.error:
        return name.startswith(layer)
