"""The loader against the classic pipeline, the training step, and its own bounds."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from statistics import median
from typing import Any

import psutil
import torch

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.data.build import TrainData, build_train_data, build_train_loader
from fastreid_ext.data.image_store import ImageStores, Rows, bytes_needed
from fastreid_ext.engine.benchmarks.classic import ClassicLoader
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate, synchronize
from fastreid_ext.engine.benchmarks.train import training_config, training_step
from fastreid_ext.modeling import build_model

__all__ = ["loader"]

WORKERS = 2
IDENTITIES = 114
GROWTH_BATCHES = 1000

_AUGMENTATIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("flip, pad-crop, erasing", "", {}),
    ("+ AutoAugment 0.1", "_autoaugment", {"INPUT": {"AUTOAUG": {"ENABLED": True, "PROB": 0.1}}}),
)


@BENCHMARKS.register()
def loader(options: Options) -> Report:
    """The loader against PIL in worker processes: images a second, first epoch, share of a training step, memory."""
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        cfg = _config(options, folder)
        data = build_train_data(cfg)
        _rates(report, options, cfg, data)
        _first_epoch(report, options, cfg, data)
        _share(report, options, cfg, data)
        _memory(report, options, cfg, data)
    return report


def _config(options: Options, folder: str) -> CfgNode:
    cfg = get_cfg(["msinet"])
    on = {"ENABLED": True}
    cfg.merge_from_mapping(
        {
            "DATASETS": {"NAMES": (f"SynthReID:num_train_ids={IDENTITIES},num_test_ids=1",), "ROOT": folder},
            "DATALOADER": {"STORE_DIR": folder, "STORE": "device"},
            "INPUT": {"SIZE_TRAIN": list(options.size), "FLIP": on, "PADDING": on, "REA": on},
            "SOLVER": {"IMS_PER_BATCH": options.batch_size},
        }
    )
    return cfg


def _with(cfg: CfgNode, changes: dict[str, Any]) -> CfgNode:
    changed: CfgNode = cfg.clone()
    changed.merge_from_mapping(changes)
    return changed


def _rates(report: Report, options: Options, cfg: CfgNode, data: TrainData) -> None:
    """From the second epoch on: what happens once has happened."""
    batches = max(1, len(data.samples) // options.batch_size)
    images = batches * options.batch_size
    kinds = ["device", "mmap", "stream"] if options.device == "cpu" else ["device", "pinned", "mmap", "stream"]
    stores = {kind: ImageStores(kind, folder=cfg.DATALOADER.STORE_DIR, device=options.device) for kind in kinds}
    for with_, suffix, changes in _AUGMENTATIONS:
        augmented = _with(cfg, changes)
        runs: dict[str, Callable[[], object]] = {
            f"classic, {WORKERS} workers": partial(_take, _classic(augmented, data, options), batches)
        }
        with ExitStack() as stack:
            for kind, kept in stores.items():
                made, _ = build_train_loader(augmented, data, device=options.device, stores=kept)
                iterator = stack.enter_context(closing(iter(made)))
                runs[f"ours, {kind}"] = partial(_take, iterator, batches)
            if options.device == "cpu":
                runs["slice copies of bytes alone"] = _copies(augmented, data, stores["device"], batches, options)
            seconds = alternate(runs, repeats=options.repeats, device=options.device)
        classic = next(iter(seconds.values()))
        for run, value in seconds.items():
            report.rows.append(_row(run, with_, images / value, "images/s", classic / value))
        report.figures[f"loader.speedup{suffix}"] = classic / seconds["ours, device"]
        report.figures[f"loader.images_per_second{suffix}"] = images / seconds["ours, device"]


def _first_epoch(report: Report, options: Options, cfg: CfgNode, data: TrainData) -> None:
    """Ours from nothing, decoding included, against an epoch of worker processes that are already there."""
    batches = max(1, len(data.samples) // options.batch_size)
    classic = _classic(cfg, data, options)

    def ours() -> None:
        made, _ = build_train_loader(cfg, data, device=options.device)
        with closing(iter(made)) as iterator:
            _take(iterator, batches)

    runs: dict[str, Callable[[], object]] = {
        "classic epoch": partial(_take, classic, batches),
        "first epoch of ours": ours,
    }
    seconds = alternate(runs, repeats=options.repeats, device=options.device)
    for run, value in seconds.items():
        report.rows.append(_row(run, "flip, pad-crop, erasing", value, "s", value / seconds["classic epoch"]))
    report.figures["loader.first_epoch_ratio"] = seconds["first epoch of ours"] / seconds["classic epoch"]


def _share(report: Report, options: Options, cfg: CfgNode, data: TrainData) -> None:
    """What the loader takes of a training step: its own time, what is waited for it, and how much slower a step is."""
    alone = options.batch_size / report.figures["loader.images_per_second"]
    stores = ImageStores.from_config(cfg, options.device)
    for name in ("MSINet", "ResNet-50"):
        step = training_step(build_model(training_config(name, options, channels_last=True)), name, options)
        channels_last = _with(cfg, {"MODEL": {"CHANNELS_LAST": True}})
        made, _ = build_train_loader(channels_last, data, device=options.device, stores=stores)
        with closing(iter(made)) as fed:
            fixed = itertools.repeat(next(fed))
            steps = [(_step(step, fixed, options), _step(step, fed, options)) for _ in range(options.repeats + 1)][1:]
        without = median(seconds for (seconds, _), _ in steps)
        total, waited = (median(values) for values in zip(*(timed for _, timed in steps), strict=True))
        key = name.lower().replace("-", "")
        figures = {
            f"loader.share_{key}": alone / without,
            f"loader.waiting_{key}": waited / total,
            f"loader.slowdown_{key}": total / without - 1,
        }
        report.figures |= figures
        report.rows.append(_row(f"{name}: step on one batch over and over", "channels-last", without, "s"))
        report.rows.append(_row(f"{name}: step on the loader's batches", "channels-last", total, "s"))
        words = ("a batch made alone, of a step", "waiting for batches", "slower than on one batch")
        report.rows += [
            _row(f"{name}: {what}", "channels-last", 100 * value, "%")
            for what, value in zip(words, figures.values(), strict=True)
        ]


def _step(
    step: Callable[[dict[str, Any]], object], batches: Iterator[dict[str, Any]], options: Options
) -> tuple[float, float]:
    """Seconds a step, and seconds of it without a batch; on a GPU of many steps, in mixed precision."""
    on_gpu = options.device != "cpu"
    waited, count = 0.0, 50 if on_gpu else 1
    synchronize(options.device)
    started = time.perf_counter()
    for _ in range(count):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            step(batch)
    synchronize(options.device)
    return (time.perf_counter() - started) / count, waited / count


def _memory(report: Report, options: Options, cfg: CfgNode, data: TrainData) -> None:
    """Bytes of the store against its bound, and what a thousand batches add to the process."""
    stores = ImageStores.from_config(cfg, options.device)
    made, _ = build_train_loader(cfg, data, device=options.device, stores=stores)
    bound = bytes_needed(len(data.samples), options.size)
    process = psutil.Process()
    with closing(iter(made)) as iterator:
        # Until as many buffers are in use as ever will be.
        _take(iterator, 300)
        before = process.memory_info().rss
        _take(iterator, GROWTH_BATCHES)
        growth = process.memory_info().rss - before
    report.rows.append(_row("store", f"{len(data.samples)} images", made.store.nbytes / 2**20, "MiB"))
    report.rows.append(_row("bound of the store", f"{len(data.samples)} images", bound / 2**20, "MiB"))
    report.rows.append(_row(f"growth over {GROWTH_BATCHES} batches", "", growth / 2**20, "MiB"))
    report.figures |= {"loader.store_over_bound": made.store.nbytes / bound, "loader.growth_mb": growth / 2**20}


def _classic(cfg: CfgNode, data: TrainData, options: Options) -> ClassicLoader:
    return ClassicLoader(cfg, data.samples, batch_size=options.batch_size, num_workers=WORKERS, device=options.device)


def _take(batches: Iterable[dict[str, Any]], count: int) -> None:
    for _ in itertools.islice(batches, count):
        pass


def _copies(cfg: CfgNode, data: TrainData, stores: ImageStores, batches: int, options: Options) -> Callable[[], None]:
    """Copies out of the store into one batch of bytes: what no loader that copies can beat."""
    made, _ = build_train_loader(cfg, data, device="cpu", stores=stores)
    batch = torch.empty(options.batch_size, 3, *options.size, dtype=torch.uint8)

    def run() -> None:
        for part in itertools.islice(made.stream, batches):
            rows = made.store.fetch(part.indices)
            assert isinstance(rows, Rows)
            for place, row in zip(batch, rows.rows.tolist(), strict=True):
                place.copy_(rows.images[row])

    return run


def _row(what: str, with_: str, value: float, unit: str, ratio: float | None = None) -> dict[str, Any]:
    return {"what": what, "with": with_, "value": value, "unit": unit, "ratio to classic": ratio}
