"""Schedules, batches and data that cannot have been meant so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastreid_ext.compat.config_report.facts import PEOPLE, SAMPLERS_OF_IDENTITIES
from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.compat.config_report.rules import mistake
from fastreid_ext.compat.config_report.timeline import timeline
from fastreid_ext.compat.config_report.unread import unread_keys

__all__: list[str] = []


@mistake
def steps_that_never_come(old: OldConfig) -> Iterator[Finding]:
    """Steps of the rate behind the last epoch."""
    solver, times = old.cfg.SOLVER, timeline(old)
    if solver.SCHED != "MultiStepLR":
        return
    last = solver.MAX_EPOCH
    never = [step for step in solver.STEPS if step >= last]
    if never:
        text = f"The training ends after epoch {last}: the rate never falls at {', '.join(map(str, never))}."
        yield Finding("SOLVER.STEPS", text)
    pushed = [step for step in solver.STEPS if times is not None and step < last <= step + times.shift]
    if pushed and times is not None:
        late = ", ".join(str(step + times.shift) for step in pushed)
        yield Finding(
            "SOLVER.STEPS",
            f"FastReID counts from the end of warm-up and delay, so that {', '.join(map(str, pushed))} would come "
            f"after epoch {late}; the training ends after epoch {last}. Here they come as written.",
        )


@mistake
def delay_without_end(old: OldConfig) -> Iterator[Finding]:
    """A delay that takes the whole training."""
    solver = old.cfg.SOLVER
    if solver.DELAY_EPOCHS >= solver.MAX_EPOCH:
        yield Finding(
            "SOLVER.DELAY_EPOCHS",
            f"Leaves no epoch of SOLVER.MAX_EPOCH {solver.MAX_EPOCH}: the rate never changes after the warm-up.",
        )


@mistake
def warmup_without_end(old: OldConfig) -> Iterator[Finding]:
    """A warm-up or a freeze that takes the whole training."""
    times, last = timeline(old), old.cfg.SOLVER.MAX_EPOCH
    if times is None:
        return
    for key, iterations in (
        ("SOLVER.WARMUP_ITERS", old.cfg.SOLVER.WARMUP_ITERS),
        ("SOLVER.FREEZE_ITERS", old.cfg.SOLVER.FREEZE_ITERS),
    ):
        if iterations >= last * times.steps_per_epoch:
            whole = f"{last} epochs of {times.steps_per_epoch:,} iterations"
            yield Finding(key, f"Is longer than the training, which has {whole}.")


@mistake
def decays_that_do_not_follow(old: OldConfig) -> Iterator[Finding]:
    """Weight decays of biases and norms that kept their defaults."""
    solver = old.cfg.SOLVER
    left = [
        key
        for key in ("WEIGHT_DECAY_BIAS", "WEIGHT_DECAY_NORM")
        if f"SOLVER.{key}" not in old.given and solver[key] != solver.WEIGHT_DECAY
    ]
    if old.changed("SOLVER.WEIGHT_DECAY") and left:
        named = " and ".join(f"SOLVER.{key}" for key in left)
        stay = "stay" if len(left) > 1 else "stays"
        yield Finding(
            "SOLVER.WEIGHT_DECAY", f"{named} {stay} at {solver[left[0]]:g}: they do not follow it. Set them, too."
        )


@mistake
def broken_identities(old: OldConfig) -> Iterator[Finding]:
    """Batches that cannot hold whole identities, or more of them than there are."""
    batch, instances = old.cfg.SOLVER.IMS_PER_BATCH, old.cfg.DATALOADER.NUM_INSTANCE
    if old.cfg.DATALOADER.SAMPLER_TRAIN not in SAMPLERS_OF_IDENTITIES:
        return
    if instances < 1 or batch % instances:
        yield Finding(
            "SOLVER.IMS_PER_BATCH",
            f"Is not a multiple of DATALOADER.NUM_INSTANCE {instances}: FastReID's sampler never fills a batch and "
            f"hangs; here it is an error.",
        )
    elif old.identities and batch // instances > old.identities:
        yield Finding(
            "SOLVER.IMS_PER_BATCH",
            f"Needs {batch // instances} identities with DATALOADER.NUM_INSTANCE {instances}, but there are "
            f"{old.identities:,}: FastReID hangs; here it is an error.",
        )


@mistake
def classes_of_other_data(old: OldConfig) -> Iterator[Finding]:
    """A number of classes that is not that of the data."""
    classes = old.cfg.MODEL.HEADS.NUM_CLASSES
    if classes and old.identities and classes != old.identities:
        what = "labels above it are an error on the GPU" if classes < old.identities else "some classes never occur"
        yield Finding(
            "MODEL.HEADS.NUM_CLASSES",
            f"The training data have {old.identities:,} identities: {what}. 0 counts them.",
        )


@mistake
def statistics_of_other_data(old: OldConfig) -> Iterator[Finding]:
    """Batch-norm statistics of data that is not trained on."""
    precise = old.cfg.TEST.PRECISE_BN
    if precise.ENABLED and precise.DATASET not in old.cfg.DATASETS.NAMES:
        yield Finding(
            "TEST.PRECISE_BN.DATASET",
            f"FastReID takes the final statistics from {precise.DATASET}, which is not trained on.",
        )


@mistake
def lying_people(old: OldConfig) -> Iterator[Finding]:
    """Width and height in the wrong order."""
    if not any(name in PEOPLE for name in (*old.cfg.DATASETS.NAMES, *old.cfg.DATASETS.TESTS)):
        return
    for key in ("SIZE_TRAIN", "SIZE_TEST"):
        size = old.cfg.INPUT[key]
        if len(size) == 2 and size[0] < size[1]:
            text = f"Sizes are height, width: people would lie. Did you mean [{size[1]}, {size[0]}]?"
            yield Finding(f"INPUT.{key}", text)


@mistake
def two_sizes(old: OldConfig) -> Iterator[Finding]:
    """Training and test images of different sizes."""
    train, test = list(old.cfg.INPUT.SIZE_TRAIN), list(old.cfg.INPUT.SIZE_TEST)
    if train != test and min(train + test) > 0 and not old.cfg.INPUT.CROP.ENABLED:
        yield Finding("INPUT.SIZE_TEST", f"The network is trained on {_size(train)} and tested on {_size(test)}.")


@mistake
def augmentation_that_never_acts(old: OldConfig) -> Iterator[Finding]:
    """An augmentation that is on with probability 0."""
    for name in ("AUTOAUG", "AUGMIX", "FLIP", "CJ", "REA", "RPT"):
        node = old.cfg.INPUT[name]
        if node.ENABLED and node.PROB == 0:
            yield Finding(f"INPUT.{name}.PROB", f"INPUT.{name}.ENABLED is on, but its probability is 0: it never acts.")


@mistake
def weights_of_another_machine(old: OldConfig) -> Iterator[Finding]:
    """Files that do not exist here."""
    unread = {one.key for one in unread_keys(old)}
    for key, value in (
        ("MODEL.BACKBONE.PRETRAIN_PATH", old.cfg.MODEL.BACKBONE.PRETRAIN_PATH),
        ("MODEL.WEIGHTS", old.cfg.MODEL.WEIGHTS),
        *(("KD.MODEL_CONFIG", path) for path in old.cfg.KD.MODEL_CONFIG),
        *(("KD.MODEL_WEIGHTS", path) for path in old.cfg.KD.MODEL_WEIGHTS),
    ):
        if not value or key in unread or Path(value).expanduser().exists():
            continue
        if Path(value).is_absolute() or value.startswith("~") or value[1:3] in (":\\", ":/"):
            yield Finding(key, f"Is a path of another machine: there is no {value} here.")
        else:
            yield Finding(key, f"There is no such file: {value} is looked for in the working folder.")


def _size(size: list[int]) -> str:
    return "x".join(map(str, size))
