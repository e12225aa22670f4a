"""Screening and toy task of losses as they are defined: one at a time, with autograd."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

__all__ = ["plain_accuracy", "plain_stage"]

LARGEST = 3e38
DOMAINS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "inv": lambda x: x.abs() >= 1e-7,
    "div": lambda x: x.abs() >= 1e-7,
    "log": lambda x: x > 0,
    "sqrt": lambda x: x >= 0,
    "arcsin": lambda x: x.abs() <= 1 + 1e-6,
    "arccos": lambda x: x.abs() <= 1 + 1e-6,
    "alf": lambda x: x.square() <= LARGEST,
}


def plain_stage(
    candidate: Any, primitives: Mapping[str, Any], *, points: int = 257, digits: int = 13, share: float = 0.8
) -> str:
    """The stage of `Screening` that rejects a candidate, "" for none; what passes is hashed.

    Args:
        candidate: the loss.
        primitives: operations by name.
        points: at which it is looked at.
        digits: decimals that are hashed.
        share: of the points at which each property must hold.
    """
    x = torch.linspace(-1, 1, points, dtype=torch.float64).requires_grad_()
    curves: list[Tensor] = []
    for graph in (candidate.target, candidate.nontarget):
        values = _function(graph, primitives, x, strict=True)
        if values is None:
            return "values"
        curves += [values.detach(), *torch.autograd.grad(values.sum(), x)]
        if not all(bool((candidate.scale * curve.abs() <= LARGEST).all()) for curve in curves):
            return "values"
    t, t_slope, n, n_slope = curves
    if min(_share(t_slope, t_slope), _share(n_slope, n_slope), _share(n - t, torch.maximum(n.abs(), t.abs()))) < share:
        return "properties"
    rounded = torch.cat([torch.tensor([candidate.log2_scale], dtype=torch.float64), *curves]).round(decimals=digits) + 0
    hashlib.blake2b(rounded.numpy().tobytes(), digest_size=16).hexdigest()
    return ""


def plain_accuracy(candidate: Any, primitives: Mapping[str, Any], task: Any) -> float:
    """What `ToyTask` gives a candidate.

    Args:
        candidate: the loss.
        primitives: operations by name.
        task: the `ToyTask`, of which the start and the settings are taken.
    """
    embeddings, weights = (torch.tensor(x, requires_grad=True) for x in (task.embeddings, task.weights))
    pids = torch.from_numpy(np.asarray(task.pids))
    own = one_hot(pids, len(weights)).bool()
    optimizer = torch.optim.SGD([embeddings, weights], lr=task.learning_rate)
    for _ in range(task.steps):
        cosines = normalize(embeddings) @ normalize(weights).T
        t, n = (_function(graph, primitives, cosines) for graph in (candidate.target, candidate.nontarget))
        assert t is not None and n is not None
        optimizer.zero_grad()
        loss = cross_entropy(candidate.scale * torch.where(own, t, n), pids)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        if not torch.isfinite(loss):
            return 0.0
        optimizer.step()
    units = normalize(embeddings.detach())
    centres = normalize(own.to(units).T @ units)
    return float(((units @ centres.T).argmax(1) == pids).double().mean())


def _function(graph: Any, primitives: Mapping[str, Any], x: Tensor, *, strict: bool = False) -> Tensor | None:
    """The graph's values; None where `strict` and a node leaves its domain or is not finite in float32."""
    nodes = [x, *(torch.full_like(x, constant) for constant in graph.constants)]
    for name, inputs in graph.operations:
        if strict and name in DOMAINS and not DOMAINS[name](nodes[inputs[-1]]).all():
            return None
        nodes.append(primitives[name].function(*(nodes[node] for node in inputs)))
        if strict and not (nodes[-1].abs() <= LARGEST).all():
            return None
    return sum((nodes[node] for node in graph.outputs), start=torch.zeros_like(x) * x)


def _share(margin: Tensor, size: Tensor) -> float:
    """Of the points, at which something is at least 0, but for rounding."""
    return float((margin >= -1e-12 * size.abs().max().clamp_min(1)).double().mean())
