"""The registry of transforms."""

from __future__ import annotations

from fastreid_ext.registry import Registry

__all__ = ["TRANSFORMS"]

TRANSFORMS = Registry("transform")
"""Classes called as `Transform(cfg)`: a `BatchTransform`.

All that is random must come from the generator that `draw` is given: from it follows what a resumed run sees.
"""
