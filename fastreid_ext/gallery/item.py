"""The images of a gallery, and what is found for a query."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Hit", "Item", "Label"]

Label = int | str | None
"""An identity or a camera; None where it is not known."""


@dataclass(frozen=True)
class Item:
    """An image.

    Attributes:
        path: of its file.
        pid: identity.
        camid: camera.
    """

    path: str
    pid: Label = None
    camid: Label = None


@dataclass(frozen=True)
class Hit:
    """An image that was found, and its distance: one minus the cosine, or squared Euclidean."""

    item: Item
    distance: float
