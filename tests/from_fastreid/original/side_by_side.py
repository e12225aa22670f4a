"""FastReID's models and ours with the same weights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fastreid
import torch
from fastreid.config import get_cfg as original_defaults
from torch import Tensor, nn

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def original_config(file: str = "", options: Sequence[Any] = ()) -> Any:
    """FastReID's own config of one of its files, or its defaults, on the CPU and without pretrained weights."""
    cfg = original_defaults()
    if file:
        cfg.merge_from_file(str(CONFIGS / file))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, *options])
    return cfg


@contextlib.contextmanager
def beside_fastreid() -> Iterator[None]:
    """The working directory from which FastReID finds the files of its RegNets."""
    before = Path.cwd()
    os.chdir(Path(fastreid.__file__).parents[1])
    try:
        yield
    finally:
        os.chdir(before)


@torch.no_grad()
def randomize(model: nn.Module, images: Tensor) -> None:
    """Weights that no layer hides, nothing zero and no norm the identity, with the statistics that they have on images.

    Without those, the products of non-local blocks would overflow.
    """
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.copy_(torch.randn(parameter.shape) * (1.5 / parameter[0].numel()) ** 0.5)
        else:
            parameter.copy_(0.5 + torch.rand(parameter.shape))
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    model(images.clone())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum


def largest_difference(theirs: nn.Module, ours: nn.Module, images: Tensor) -> float:
    """Largest difference of the outputs in evaluation, relative to the largest output if that is above 1, after ours
    has loaded their state, strictly and as it is.

    First with FastReID's initial weights. Then, since these make layers do nothing that could go wrong, with others in
    double precision, in which the difference must be below 1e-9: deep networks of random weights magnify rounding.
    """
    difference = _difference(theirs, ours, images)
    randomize(theirs.double(), images.double())
    exact = _difference(theirs, ours.double(), images.double())
    assert exact < 1e-9, exact
    theirs.float(), ours.float()
    return difference


@torch.no_grad()
def _difference(theirs: nn.Module, ours: nn.Module, images: Tensor) -> float:
    ours.load_state_dict(theirs.state_dict(), strict=True)
    expected, found = theirs.eval()(images.clone()), ours.eval()(images.clone())
    assert expected.shape == found.shape and torch.isfinite(expected).all() and expected.std() > 0
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1))
