"""The registry of losses."""

from __future__ import annotations

from fastreid_ext.registry import Registry

__all__ = ["LOSSES"]

# LOSSES.get(name)(cfg) is a `Loss`.
LOSSES = Registry("loss")
