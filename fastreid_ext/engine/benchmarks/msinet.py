"""MSINet's backbone against the same network written plainly, and against ResNet-50."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import torch
from torch import Tensor, nn

from fastreid_ext import projects
from fastreid_ext.engine.benchmarks.plain_msinet import PlainMSINet
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate
from fastreid_ext.modeling.backbones import ResNet
from fastreid_ext.modeling.inference import prepare_for_inference
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.logger import get_logger

__all__ = ["msinet"]

TOLERANCE = 1e-4
PLAIN, PLAIN_LAST = "MSINet, plain", "MSINet, plain, channels-last"
OURS, PREPARED = "MSINet, channels-last", "MSINet, prepared"
RESNET, RESNET_LAST, RESNET_PREPARED = "ResNet-50", "ResNet-50, channels-last", "ResNet-50, prepared"

T = TypeVar("T", Tensor, nn.Module)
Seconds = dict[str, dict[str, float]]


@BENCHMARKS.register()
def msinet(options: Options) -> Report:
    """Inference and training step of MSINet: plain modules, ours, prepared for inference, and ResNet-50.

    On a CPU once as the C library handles freed memory, and once where the process keeps it.
    """
    handled = {"freed": _measure_alone(options, kept=False)}
    if options.device == "cpu":
        handled["kept"] = _measure_alone(options, kept=True)
    rows = [
        {"memory": memory, "what": what, "model": model, "s": s, "images/s": options.batch_size / s}
        for memory, seconds in handled.items()
        for what, of_models in seconds.items()
        for model, s in of_models.items()
    ]
    figures = _figures(handled["freed"], "")
    if "kept" in handled:
        figures |= _figures(handled["kept"], "_where_both_keep_memory")
    return Report(rows, figures)


def _figures(seconds: Seconds, suffix: str) -> dict[str, float]:
    inference, step = seconds["inference"], seconds["training step"]
    figures = {
        "speedup": inference[PLAIN] / inference[PREPARED],
        "over_resnet50": inference[PREPARED] / inference[RESNET_PREPARED],
        "training_speedup": step[PLAIN] / step[OURS],
    }
    return {f"msinet.{name}{suffix}": value for name, value in figures.items()}


def _measure_alone(options: Options, *, kept: bool) -> Seconds:
    """In a process of its own: what the C library does with memory cannot be taken back."""
    get_logger(__name__).info("measuring inference and training step, memory %s", "kept" if kept else "freed")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, options, kept, torch.get_num_threads()).result()


def _measure(options: Options, kept: bool, threads: int) -> Seconds:
    torch.set_num_threads(threads)
    if kept:
        keep_freed_memory()
    torch.manual_seed(0)
    images = torch.randn(options.batch_size, 3, *options.size, device=options.device)
    models = _models(images)
    inputs = {name: images if name in (PLAIN, RESNET) else _channels_last(images) for name in models}
    with torch.inference_mode():
        _check(models, inputs)
    steps = {name: models[name] for name in (PLAIN, PLAIN_LAST, OURS)}
    timed = partial(alternate, repeats=options.repeats, device=options.device)
    return {
        "inference": timed({name: partial(_infer, model, inputs[name]) for name, model in models.items()}),
        "training step": timed({name: partial(_step, model, inputs[name]) for name, model in steps.items()}),
    }


def _models(images: Tensor) -> dict[str, nn.Module]:
    project = projects.load("msinet")
    ours, resnet = _warmed(project.MSINet(), images), _warmed(ResNet(), images)
    plain = PlainMSINet(project.parse_genotype("MSINet")).to(images.device)
    plain.load_state_dict(ours.state_dict())
    return {
        PLAIN: plain,
        PLAIN_LAST: _channels_last(deepcopy(plain)),
        OURS: _channels_last(ours),
        PREPARED: prepare_for_inference(ours),
        RESNET: resnet,
        RESNET_LAST: _channels_last(deepcopy(resnet)),
        RESNET_PREPARED: prepare_for_inference(resnet),
    }


def _warmed(model: nn.Module, images: Tensor) -> nn.Module:
    """The model as training leaves it: with statistics in its norms, and attention that attends."""
    model.to(images.device).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.1)
        for _ in range(3):
            model(images[:8])
    return model


def _check(models: dict[str, nn.Module], inputs: dict[str, Tensor]) -> None:
    """Refuses to time networks that do not compute the same."""
    expected: dict[str, Tensor] = {}
    for name, model in models.items():
        output = model.eval()(inputs[name][:8])
        reference = expected.setdefault(name.split(",")[0], output)
        torch.testing.assert_close(output, reference, rtol=0, atol=TOLERANCE * float(reference.abs().max()))


def _channels_last(moved: T) -> T:
    return moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _infer(model: nn.Module, images: Tensor) -> None:
    model.eval()
    with torch.inference_mode():
        model(images)


def _step(model: nn.Module, images: Tensor) -> None:
    """Forward and backward pass."""
    model.train().zero_grad(set_to_none=True)
    model(images).square().mean().backward()
