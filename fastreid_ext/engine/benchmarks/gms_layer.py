"""The searched losses as classification layers against a layer that was written by hand."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from fastreid_ext import projects
from fastreid_ext.engine.benchmarks.registry import Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate
from fastreid_ext.functional.distances import normalize
from fastreid_ext.modeling.layers.cls import CosSoftmax

__all__ = ["compare_layers"]

CLASSES = 751
WIDTH = 2048
# A step of the layer alone takes less than a millisecond.
STEPS = 100
BY_HAND = "CosSoftmax"


def compare_layers(report: Report, options: Options) -> None:
    """Adds rows of a step's seconds, and the figures `gms.overhead` and `gms.overhead_in_head`.

    A step is logits, cross entropy and gradients: of the cosines for the layer alone, of features and class weights in
    the head. The first figure is of CosFace's graph, which computes what `CosSoftmax` does; the second the worst of all
    presets.
    """
    layers = _layers()
    for what, make in (("layer", _layer_step), ("layer in a head", _head_step)):
        seconds = _seconds(layers, options, make)
        report.rows += [
            {"what": what, "how": name, "s": value, "over CosSoftmax": value / seconds[BY_HAND]}
            for name, value in seconds.items()
        ]
        if make is _layer_step:
            report.figures["gms.overhead"] = seconds["cosface"] / seconds[BY_HAND] - 1
        else:
            worst = max(value for name, value in seconds.items() if name != BY_HAND)
            report.figures["gms.overhead_in_head"] = worst / seconds[BY_HAND] - 1


def _layers() -> dict[str, nn.Module]:
    project = projects.load("gms")
    presets = import_module(f"{project.__name__}.presets").PRESETS
    layers: dict[str, nn.Module] = {BY_HAND: CosSoftmax(CLASSES, 32.0, 0.35)}
    for name, preset in presets.items():
        layers[name] = project.GMSSoftmax(
            CLASSES, target=preset.target, nontarget=preset.nontarget, log2_scale=preset.log2_scale
        )
    return layers


def _seconds(
    layers: dict[str, nn.Module], options: Options, make: Callable[[nn.Module, Options], Callable[[], object]]
) -> dict[str, float]:
    runs = {name: make(layer, options) for name, layer in layers.items()}
    return alternate(runs, repeats=STEPS * options.repeats, device=options.device)


def _layer_step(layer: nn.Module, options: Options) -> Callable[[], object]:
    cosines = torch.rand(options.batch_size, CLASSES, device=options.device) * 2 - 1
    pids = torch.randint(CLASSES, (options.batch_size,), device=options.device)
    cosines.requires_grad_()

    def step() -> None:
        cosines.grad = None
        _backward(layer, cosines, pids)

    return step


def _head_step(layer: nn.Module, options: Options) -> Callable[[], object]:
    features = torch.randn(options.batch_size, WIDTH, device=options.device, requires_grad=True)
    weight = torch.randn(CLASSES, WIDTH, device=options.device, requires_grad=True)
    pids = torch.randint(CLASSES, (options.batch_size,), device=options.device)

    def step() -> None:
        features.grad = weight.grad = None
        _backward(layer, linear(normalize(features), normalize(weight)), pids)

    return step


def _backward(layer: nn.Module, cosines: Tensor, pids: Tensor) -> None:
    cross_entropy(layer(cosines, pids), pids).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
