"""What ends a search early."""

from __future__ import annotations

__all__ = ["SearchError", "SearchStopped", "TrialStoreError"]


class SearchError(ValueError):
    """The search cannot go on; the message is meant for people."""


class TrialStoreError(SearchError):
    """A file of trials cannot be used."""


class SearchStopped(KeyboardInterrupt):
    """The search was asked to stop, and all that it found is in its file."""
