"""What is wrong with a gallery."""

from __future__ import annotations

__all__ = ["AddingStopped", "GalleryError"]


class GalleryError(ValueError):
    """A gallery cannot be used so; the message is meant for people."""


class AddingStopped(KeyboardInterrupt):
    """Adding images was asked to stop, and those that were embedded are in."""
