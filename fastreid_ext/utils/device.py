"""Devices by number."""

from __future__ import annotations

import torch

__all__ = ["with_index"]


def with_index(device: torch.device | str) -> torch.device:
    """The device, "cuda" as the GPU that is current in the calling thread: in another one it may be another."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
