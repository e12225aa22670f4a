"""Training step and inference of whole models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate
from fastreid_ext.modeling import build_model
from fastreid_ext.solver import build_optimizer

__all__ = ["train", "training_config", "training_step"]

NUM_CLASSES = 751

Step = Callable[[dict[str, Any]], object]


@BENCHMARKS.register()
def train(options: Options) -> Report:
    """Images a second of a training step and of inference: MSINet and ResNet-50, contiguous and channels-last."""
    models = {
        (name, layout): build_model(training_config(name, options, channels_last=layout == "channels-last"))
        for name in ("MSINet", "ResNet-50")
        for layout in ("contiguous", "channels-last")
    }
    images = torch.randint(0, 256, (options.batch_size, 3, *options.size), dtype=torch.uint8, device=options.device)
    targets = torch.arange(options.batch_size, device=options.device) // 4 % NUM_CLASSES
    batch = {"images": images, "targets": targets}
    report = Report()
    for mode, make in (("inference", _inference), ("training step", training_step)):
        runs = {
            f"{name}/{layout}": partial(make(model, name, options), batch) for (name, layout), model in models.items()
        }
        seconds = alternate(runs, repeats=options.repeats, device=options.device)
        for run, value in seconds.items():
            name, layout = run.split("/")
            rate = options.batch_size / value
            report.rows.append({"what": mode, "model": name, "layout": layout, "s": value, "images/s": rate})
            key = f"{mode.split()[0]}.{name.lower().replace('-', '')}.{layout.replace('-', '_')}_images_per_second"
            report.figures[key] = rate
    return report


def training_config(name: str, options: Options, *, channels_last: bool) -> CfgNode:
    """MSINet or ResNet-50 with cross entropy and triplet loss."""
    cfg = get_cfg(["msinet"])
    values: dict[str, Any] = {
        "DEVICE": options.device,
        "CHANNELS_LAST": channels_last,
        "HEADS": {"NUM_CLASSES": NUM_CLASSES},
        "LOSSES": {"NAME": ("CrossEntropyLoss", "TripletLoss"), "TRI": {"HARD_MINING": True}},
    }
    if name == "MSINet":
        values["BACKBONE"] = {"NAME": "MSINet", "FEAT_DIM": 512}
        values["HEADS"]["NAME"] = "TwoBranchHead"
    else:
        values["HEADS"]["WITH_BNNECK"] = True
    cfg.merge_from_mapping({"MODEL": values, "SOLVER": {"OPT": "SGD"}})
    return cfg


def training_step(model: nn.Module, name: str, options: Options) -> Step:
    """A function that takes a batch and makes an optimizer step with it."""
    channels_last = bool(getattr(model, "memory_format", None) == torch.channels_last)
    optimizer = build_optimizer(training_config(name, options, channels_last=channels_last), model)

    def run(batch: dict[str, Any]) -> object:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        loss = torch.stack(list(model(batch).values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        return optimizer.step()

    return run


def _inference(model: nn.Module, name: str, options: Options) -> Step:
    def run(batch: dict[str, Any]) -> object:
        model.eval()
        with torch.inference_mode():
            return model(batch)

    return run
