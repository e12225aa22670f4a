"""The registry of meta-architectures, and `build_model`."""

from __future__ import annotations

import torch
from torch import nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.registry import Registry

__all__ = ["META_ARCHS", "build_model", "choose_device"]

# META_ARCHS.get(name)(cfg) is the whole model: in training a batch -> dict of scalar losses; in evaluation a batch or
# images -> embeddings (B, D).
META_ARCHS = Registry("meta-architecture")


def build_model(cfg: CfgNode) -> nn.Module:
    """The model of a config on its device, with new weights or the backbone's pretrained ones.

    Raises:
        RegistryError: a part that is not registered.
        ConfigError: parts that do not fit, or a device that is not there.
    """
    device = choose_device(cfg.MODEL.DEVICE)
    model: nn.Module = META_ARCHS.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    return model.to(device)


def choose_device(name: str) -> torch.device:
    """The device `name`; "auto" is the GPU when there is one, else the CPU.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"MODEL.DEVICE {name!r} is no device: take auto, cpu, cuda or cuda:<index>") from error
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        seen = f"only {count}" if count else "none"
        raise ConfigError(f"MODEL.DEVICE is {name}, but torch sees {seen} of these: set MODEL.DEVICE to cpu or auto")
    return device
