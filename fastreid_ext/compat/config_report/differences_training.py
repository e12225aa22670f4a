"""Data and training that go another way here than in FastReID."""

from __future__ import annotations

from collections.abc import Iterator

from fastreid_ext.compat.config_report.facts import OTHER_DEFAULTS
from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.compat.config_report.rules import difference
from fastreid_ext.compat.config_report.timeline import timeline
from fastreid_ext.config import get_cfg

__all__: list[str] = []

_AFTER_WARMUP = {"COMPAT.SCHEDULE_AFTER_WARMUP": True}


@difference
def schedule_after_warmup(old: OldConfig) -> Iterator[Finding]:
    """Its schedule waits for the end of the warm-up."""
    solver, times = old.cfg.SOLVER, timeline(old)
    if old.counts_from_start or solver.SCHED not in ("MultiStepLR", "CosineAnnealingLR"):
        return
    steps = solver.SCHED == "MultiStepLR"
    key = "SOLVER.STEPS" if steps else "SOLVER.DELAY_EPOCHS"
    if times is None:
        if solver.WARMUP_ITERS or (steps and solver.DELAY_EPOCHS):
            text = (
                "FastReID counts these epochs from the end of the warm-up; here they count from the start of training, "
                "as written. By how much that is later depends on the size of the data, which is not known here."
            )
            yield Finding(key, text, _AFTER_WARMUP)
    elif times.late and steps:
        late = ", ".join(str(step + times.shift) for step in solver.STEPS)
        text = (
            f"FastReID counts these epochs from the end of warm-up and delay: the rate falls after epochs {late}. Here "
            f"it falls after those that are written."
        )
        yield Finding(key, text, _AFTER_WARMUP)
    elif times.late:
        here = f"after epoch {solver.DELAY_EPOCHS}" if solver.DELAY_EPOCHS else "at once"
        text = (
            f"FastReID's cosine begins after epoch {times.shift}, with the end of the warm-up; here it begins {here}, "
            f"under the warm-up."
        )
        yield Finding(key, text, _AFTER_WARMUP)


@difference
def half_precision(old: OldConfig) -> Iterator[Finding]:
    """Its mixed precision is float16."""
    if old.cfg.SOLVER.AMP.ENABLED:
        yield Finding(
            "SOLVER.AMP.ENABLED",
            "FastReID computes in float16; here it is bfloat16 where the GPU has it, and float32 on a CPU. "
            "SOLVER.AMP.DTYPE fp16 is FastReID's.",
        )


@difference
def data_of_the_defaults(old: OldConfig) -> Iterator[Finding]:
    """Its defaults name other data."""
    ours = dict(get_cfg().leaves())
    for key, value in OTHER_DEFAULTS.items():
        # A device is found here.
        if key != "MODEL.DEVICE" and key not in old.given and key not in old.refused:
            yield Finding(
                key,
                f"No file says it: FastReID's default is {', '.join(value)}, ours {', '.join(ours[key])}, generated "
                f"images, with which the file would run as it is. The modern form names FastReID's.",
                {key: value},
            )


@difference
def people_of_msmt17(old: OldConfig) -> Iterator[Finding]:
    """It trains on one of the two lists."""
    if "MSMT17" in old.cfg.DATASETS.NAMES and not old.cfg.DATASETS.COMBINEALL:
        names = [f"{name}:combine_val=False" if name == "MSMT17" else name for name in old.cfg.DATASETS.NAMES]
        yield Finding(
            "DATASETS.NAMES",
            "FastReID trains on the 30,248 images of list_train.txt; here those of list_val.txt belong to it, 32,621 "
            "in all, as papers report.",
            {"DATASETS.NAMES": tuple(names)},
        )


@difference
def weights_of_data_sets(old: OldConfig) -> Iterator[Finding]:
    """Its SetReWeightSampler looks for cameras."""
    if old.cfg.DATALOADER.SAMPLER_TRAIN == "SetReWeightSampler":
        yield Finding(
            "DATALOADER.SET_WEIGHT",
            "FastReID takes the weights for those of cameras with the numbers 0, 1, ..., which its data sets do not "
            "have, and fails; here they are those of DATASETS.NAMES, and only their ratios matter.",
        )


@difference
def order_of_autoaugment(old: OldConfig) -> Iterator[Finding]:
    """It changes images at their own size."""
    if old.cfg.INPUT.AUTOAUG.ENABLED and old.cfg.INPUT.AUTOAUG.PROB > 0:
        yield Finding(
            "INPUT.AUTOAUG.ENABLED",
            "FastReID changes an image before it is resized; here it is changed at the network's size, with "
            "torchvision's magnitudes.",
        )


@difference
def erased_areas(old: OldConfig) -> Iterator[Finding]:
    """It erases less than the paper."""
    if old.cfg.INPUT.REA.ENABLED:
        yield Finding(
            "INPUT.REA.ENABLED",
            "FastReID erases 2 to 33 % of an image, with sides of ratio 0.3 to 3.3; here 2 to 40 % with 0.3 to 1/0.3, "
            "as in the paper.",
        )


@difference
def sizes_as_they_are(old: OldConfig) -> Iterator[Finding]:
    """Its size 0 leaves images as they are."""
    for key in ("SIZE_TRAIN", "SIZE_TEST"):
        size = old.cfg.INPUT[key]
        if size and size[0] <= 0:
            yield Finding(
                f"INPUT.{key}",
                "FastReID takes 0 for 'as they are' and resizes nothing; here images need a size: height, width.",
            )


@difference
def patches_of_the_batch(old: OldConfig) -> Iterator[Finding]:
    """Its patches are those of earlier images."""
    if old.cfg.INPUT.RPT.ENABLED:
        yield Finding(
            "INPUT.RPT.ENABLED",
            "FastReID pastes patches of images that its worker saw before, from the 100th on; here they are of other "
            "images of the batch, from the first on.",
        )


@difference
def statistics_of_another_set(old: OldConfig) -> Iterator[Finding]:
    """Its precise statistics come from a data set of their own, at the end."""
    precise = old.cfg.TEST.PRECISE_BN
    if precise.ENABLED:
        yield Finding(
            "TEST.PRECISE_BN.DATASET",
            "FastReID averages the statistics over this data set, once, after the last epoch; here over the training "
            "data, before each evaluation.",
        )
