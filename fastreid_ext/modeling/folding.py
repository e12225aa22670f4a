"""Batch norms as part of the convolutions before them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn
from torch.fx import Graph, Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fastreid_ext.modeling.layers.norm import is_linear_in_evaluation

__all__ = ["fold_batch_norms"]

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def fold_batch_norms(model: M) -> M:
    """A copy for evaluation in which batch norms are part of the convolutions whose outputs only they see.

    Which those are is read from the calls that `forward` makes: of the whole model or, where these depend on the data,
    of its parts, which are then taken to be called as a whole. What cannot be folded stays: norms of other kinds or
    without statistics, convolutions whose outputs or weights are used elsewhere, and whatever has hooks.

    Args:
        model: left as it is.
    """
    folded = copy.deepcopy(model).eval()
    shared = _shared(folded)
    for part, graph in list(_graphs(folded)):
        for convolution, norm in _pairs(part, graph):
            if _is_foldable(convolution, norm) and not {convolution, norm} & shared:
                fused = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var, arg-type]
                convolution.weight, convolution.bias = fused.weight, fused.bias
                _replace(folded, norm, nn.Identity())
    return folded


class _Calls(Tracer):
    """Records calls, and reads of weights and buffers; batch norms of ours count as layers, as torch's do."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _graphs(module: nn.Module) -> Iterator[tuple[nn.Module, Graph]]:
    """The largest parts whose calls can be recorded, with these."""
    try:
        yield module, _Calls().trace(module)
    # A forward can do anything with what stands for its arguments, and so fail in any way.
    except Exception:
        for child in module.children():
            yield from _graphs(child)


def _pairs(part: nn.Module, graph: Graph) -> list[tuple[nn.Module, nn.Module]]:
    """Layers called once, each with the layer called once that alone takes what it returns."""
    calls = [node for node in graph.nodes if node.op == "call_module"]
    read = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    times = Counter(node.target for node in calls)
    once = {
        node: part.get_submodule(node.target) for node in calls if times[node.target] == 1 and node.target not in read
    }
    return [
        (once[node], once[user])
        for node in once
        for user in node.users
        if len(node.users) == 1 and user in once and user.args == (node,) and not user.kwargs
    ]


def _is_foldable(convolution: nn.Module, norm: nn.Module) -> bool:
    # Parametrised layers are of a class of their own.
    if type(convolution) is not nn.Conv2d or not is_linear_in_evaluation(norm):
        return False
    hooks = (layer._forward_hooks or layer._forward_pre_hooks for layer in (convolution, norm))
    return not any(hooks)


def _shared(model: nn.Module) -> set[nn.Module]:
    """Modules that have several names or whose parameters other modules have, too."""
    names = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    owners = Counter(parameter for module in names for parameter in module.parameters(recurse=False))
    return {
        module
        for module, count in names.items()
        if count > 1 or any(owners[parameter] > 1 for parameter in module.parameters(recurse=False))
    }


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)
