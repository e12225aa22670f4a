"""Inference a few images at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["InSlices"]

PIXELS_PER_THREAD = 2 * 256 * 128


class InSlices(nn.Module):
    """Passes a batch through a model a few images at a time where the model is on a CPU, in evaluation.

    The memory of small maps is used again at once; that of large maps goes back to the operating system each time,
    whose clearing of new pages can take longer than the network. Where the process keeps its memory
    (`fastreid_ext.utils.allocator`), whole batches are quicker: weights are laid out anew for each slice.

    Args:
        model: takes images or a dict of them as "images"; gives a tensor or a dict of tensors, a row or map an image.

    Shape:
        batch: (B, C, H, W), or "images" of that shape and whatever else the model takes.
        returns: what the model does, for all B images.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, batch: Mapping[str, Any] | Tensor) -> Any:
        images: Tensor = batch if isinstance(batch, Tensor) else batch["images"]
        size = max(1, PIXELS_PER_THREAD * torch.get_num_threads() // images[0, 0].numel()) if len(images) else 0
        if self.training or len(images) <= size or any(weight.device.type != "cpu" for weight in self.parameters()):
            return self.model(batch)
        slices = torch.split(images, size)
        outputs = [self.model(part if isinstance(batch, Tensor) else {**batch, "images": part}) for part in slices]
        if isinstance(outputs[0], Tensor):
            return torch.cat(outputs)
        return {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
