"""Where in an image a model finds what it knows the image by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastreid_ext.modeling.meta_arch import ReIDModel
from fastreid_ext.utils.modes import eval_mode

__all__ = ["NoMapError", "activation_maps"]


class NoMapError(ValueError):
    """A model that makes no map of an image, or none that can be found."""


@torch.inference_mode()
def activation_maps(model: nn.Module, batch: Mapping[str, Any] | Tensor) -> Tensor:
    """The energy of the last map at each position: the sum of its squares over channels, from 0 to 1 in each image.

    Several last maps, such as those of MGN's branches, have equal say. Where the last map is a class token alone, as
    that of `ViT`, it is the attention of this token to each patch in the last block, averaged over heads.

    Args:
        model: its attribute `map_parts`, if it has one, names the parts that make maps; without, "backbone" does.
        batch: what the model takes in evaluation.

    Shape:
        batch: B images.
        Result: (B, h, w), float32, on the CPU, h and w those of the last map.

    Raises:
        NoMapError: there is no such part, or it gives no map.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017; for identities: Zhou et al.,
    "Omni-Scale Feature Learning", ICCV 2019, Fig. 6.
    """
    names = getattr(model, "map_parts", ReIDModel.map_parts)
    parts = [getattr(model, name, None) for name in names]
    if not all(isinstance(part, nn.Module) for part in parts):
        raise NoMapError(f"{type(model).__name__} has no part {' and '.join(names)} to take a map from")
    outputs = _outputs(model, batch, parts)
    energies = [_energy(part, output, model, batch) for part, output in zip(parts, outputs, strict=True)]
    largest = max((energy.shape[1:] for energy in energies), key=lambda shape: shape.numel())
    together = torch.stack([_resized(energy / _total(energy), largest) for energy in energies]).mean(0)
    low, high = together.amin((1, 2), keepdim=True), together.amax((1, 2), keepdim=True)
    scaled: Tensor = ((together - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)).cpu()
    return scaled


def _energy(part: Any, output: Any, model: nn.Module, batch: Mapping[str, Any] | Tensor) -> Tensor:
    """Of what a part gives, one map after the other; none is negative.

    Shape:
        Result: (B, h, w), float32.
    """
    last = output.get("last") if isinstance(output, Mapping) else output
    if not isinstance(last, Tensor) or last.dim() != 4:
        raise NoMapError(f"{type(part).__name__} of {type(model).__name__} gives no map")
    if last.shape[2] * last.shape[3] > 1:
        return last.float().square().sum(1)
    return _attention_of_class(part, model, batch)


def _attention_of_class(part: nn.Module, model: nn.Module, batch: Mapping[str, Any] | Tensor) -> Tensor:
    """How much the first token attends to each patch, where `part` is a transformer of timm's blocks."""
    patches: Any = getattr(part, "patch_embed", None)
    attention: Any = next((each for each in reversed(list(part.modules())) if _is_attention(each)), None)
    if patches is None or attention is None:
        raise NoMapError(f"the last map of {type(part).__name__} has one position only: there is nothing to see in it")
    embedded, projected = _outputs(model, batch, [patches, attention.qkv])
    if embedded.dim() != 4 or projected.shape[1] != 1 + embedded.shape[2] * embedded.shape[3]:
        raise NoMapError(f"which tokens of {type(part).__name__} are patches of an image cannot be known")
    shape = (*projected.shape[:2], 3, attention.num_heads, -1)
    queries, keys, _ = projected.reshape(shape).permute(2, 0, 3, 1, 4).unbind()
    queries, keys = attention.q_norm(queries[:, :, :1]), attention.k_norm(keys)
    weights = (queries.float() @ keys.float().mT * attention.scale).softmax(-1)
    of_patches: Tensor = weights[:, :, 0, 1:].mean(1)
    return of_patches.reshape(-1, *embedded.shape[2:])


def _is_attention(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("qkv", "num_heads", "q_norm", "k_norm", "scale"))


def _outputs(model: nn.Module, batch: Mapping[str, Any] | Tensor, parts: Sequence[Any]) -> list[Any]:
    """What each part gave last when the model embedded the images."""
    outputs: list[list[Any]] = [[] for _ in parts]
    with eval_mode(model), ExitStack() as hooks:
        for part, kept in zip(parts, outputs, strict=True):
            hooks.enter_context(_listening(part, kept))
        model(batch)
    return [kept[-1] if kept else None for kept in outputs]


@contextmanager
def _listening(module: nn.Module, kept: list[Any]) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        yield
    finally:
        handle.remove()


def _total(energy: Tensor) -> Tensor:
    return energy.sum((1, 2), keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)


def _resized(energy: Tensor, shape: Sequence[int]) -> Tensor:
    return F.interpolate(energy[:, None], tuple(shape), mode="bilinear", align_corners=False)[:, 0]
