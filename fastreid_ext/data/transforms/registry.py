"""The registry of transforms."""

from __future__ import annotations

from fastreid_ext.registry import Registry

__all__ = ["TRANSFORMS"]

TRANSFORMS = Registry("transform")
"""Functions called as `transform(cfg)` that return a callable: uint8 tensor (3, H, W) -> uint8 tensor (3, H', W').

All that is random must come from torch's default generator, which the loader seeds for every image.
"""
