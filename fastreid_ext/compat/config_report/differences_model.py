"""Networks and losses that are others here than in FastReID."""

from __future__ import annotations

from collections.abc import Iterator

from fastreid_ext.compat.config_report.facts import NAMES
from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.compat.config_report.rules import difference
from fastreid_ext.compat.config_report.unread import unread_keys

__all__: list[str] = []


@difference
def non_local_width(old: OldConfig) -> Iterator[Finding]:
    """Its blocks have one inner channel, by mistake."""
    switch = "MODEL.BACKBONE.WITH_NL"
    if not old.cfg.MODEL.BACKBONE.WITH_NL or old.family is None or any(key.key == switch for key in unread_keys(old)):
        return
    yield Finding(
        switch,
        "FastReID's non-local blocks have one inner channel, by mistake; here they have half of the outer ones, as in "
        "the paper. Weights trained with FastReID fit only the one channel.",
        {"COMPAT.ONE_CHANNEL_NON_LOCAL": True},
    )


@difference
def normalised_triplets(old: OldConfig) -> Iterator[Finding]:
    """Its distance of unit vectors is the square of ours."""
    if "TripletLoss" in old.cfg.MODEL.LOSSES.NAME and old.cfg.MODEL.LOSSES.TRI.NORM_FEAT:
        yield Finding(
            "MODEL.LOSSES.TRI.NORM_FEAT",
            "FastReID's distance is 2 - 2 cos; here it is the root of that, the Euclidean distance of unit vectors. A "
            "margin means another angle.",
        )


@difference
def softly_weighted_triplets(old: OldConfig) -> Iterator[Finding]:
    """It takes an image for a positive of its own."""
    if "TripletLoss" in old.cfg.MODEL.LOSSES.NAME and not old.cfg.MODEL.LOSSES.TRI.HARD_MINING:
        yield Finding(
            "MODEL.LOSSES.TRI.HARD_MINING",
            "FastReID counts an image among its own positives, at distance 0, which lowers their weighted mean; here "
            "it is left out.",
        )


@difference
def negative_margin(old: OldConfig) -> Iterator[Finding]:
    """Its soft margin begins at 0 and goes on below."""
    if "TripletLoss" in old.cfg.MODEL.LOSSES.NAME and old.cfg.MODEL.LOSSES.TRI.MARGIN < 0:
        yield Finding(
            "MODEL.LOSSES.TRI.MARGIN",
            "FastReID takes the soft margin for 0 and for all below; here 0 means it and less is an error.",
        )


@difference
def mgn_of_any_resnet(old: OldConfig) -> Iterator[Finding]:
    """MGN: what it refuses, and whose rates HEADS_LR_FACTOR scales."""
    if old.cfg.MODEL.META_ARCHITECTURE != "MGN":
        return
    if old.cfg.MODEL.BACKBONE.WITH_NL:
        yield Finding(
            "MODEL.BACKBONE.WITH_NL",
            "FastReID's MGN drops the non-local blocks without a word; here MGN refuses them.",
        )
    if old.cfg.SOLVER.HEADS_LR_FACTOR != 1:
        yield Finding(
            "SOLVER.HEADS_LR_FACTOR",
            "Has no effect on FastReID's MGN, which has no part named heads; here it scales the rate of its eight "
            "heads.",
        )


@difference
def frozen_by_prefix(old: OldConfig) -> Iterator[Finding]:
    """Its FREEZE_LAYERS are the beginnings of names."""
    layers = old.cfg.MODEL.FREEZE_LAYERS
    if not layers or not old.cfg.SOLVER.FREEZE_ITERS:
        return
    branches = [layer for layer in layers if layer in ("b1", "b2", "b3")]
    if old.cfg.MODEL.META_ARCHITECTURE == "MGN" and branches:
        yield Finding(
            "MODEL.FREEZE_LAYERS",
            f"FastReID takes the names as prefixes, so that {branches[0]} also keeps {branches[0]}_head as it started; "
            f"here they are names of modules, and the heads learn from the first iteration on.",
        )
    nested = [layer for layer in layers if "." in layer]
    if nested:
        yield Finding(
            "MODEL.FREEZE_LAYERS",
            f"FastReID fixes the weights of {nested[0]}, but its batch norms go on to gather statistics, as only parts "
            f"directly below the model are set to evaluation; here they stand still, too.",
        )


@difference
def memory_of_moco(old: OldConfig) -> Iterator[Finding]:
    """Its MoCo compares images with themselves."""
    if old.cfg.MODEL.META_ARCHITECTURE == "MoCo":
        yield Finding(
            "MODEL.META_ARCHITECTURE",
            "FastReID leaves out an image's own entry in the first batch only and counts empty places of the memory "
            "as images of identity 0; here it is left out in each batch, and what is empty does not count.",
        )


@difference
def teachers_that_count(old: OldConfig) -> Iterator[Finding]:
    """Its teachers are not in evaluation mode."""
    if old.cfg.MODEL.META_ARCHITECTURE == "Distiller":
        yield Finding(
            "MODEL.META_ARCHITECTURE",
            "FastReID's teachers normalise with the statistics of the batch, and KD.EMA averages no statistics; here "
            "teachers are in evaluation mode, and the average has them.",
        )


@difference
def heads_of_classes(old: OldConfig) -> Iterator[Finding]:
    """Its ClasHead belongs to a project with a trainer of its own."""
    if old.cfg.MODEL.HEADS.NAME == "ClasHead":
        yield Finding(
            "MODEL.HEADS.NAME",
            "FastReID's project FastClas measures its accuracy; here TEST.EVALUATOR ClasEvaluator does. Without them, "
            "images are ranked by logits.",
        )


@difference
def corner_of_the_map(old: OldConfig) -> Iterator[Finding]:
    """Its heads take the first position of what is not pooled."""
    family, heads = old.family, old.cfg.MODEL.HEADS
    unpooled = heads.POOL_LAYER == "Identity" and (family is None or family.convolutional)
    if unpooled and heads.NAME in NAMES["MODEL.HEADS.NAME"]:
        yield Finding(
            "MODEL.HEADS.POOL_LAYER",
            "FastReID's head takes the top left position of the map; here a head refuses a map that is not pooled.",
        )
