"""What can be said to whoever exports a model."""

from __future__ import annotations

__all__ = ["ExportError"]


class ExportError(ValueError):
    """A model that cannot be exported, or a file that does not do what the model does."""
