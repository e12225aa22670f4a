"""What a search asks of those who evaluate."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, TypeVar

from fastreid_ext.search.protocols import Job, Outcome

__all__ = ["Backend", "ContextBackend"]

B = TypeVar("B", bound="ContextBackend")


class Backend(Protocol):
    """Workers that evaluate jobs.

    Attributes:
        capacity: jobs at a time.
        in_driver: a job that kills its worker kills the search.
    """

    capacity: int
    in_driver: bool

    def submit(self, job: Job) -> None:
        """Takes a job; to be called while fewer than `capacity` are unfinished."""

    def wait(self, timeout: float | None = None) -> list[Outcome]:
        """The jobs that have ended since the last call.

        Args:
            timeout: seconds to wait when there is none; None waits for the first. An empty list afterwards, and at
                once when no job is unfinished.

        Raises:
            SearchError: no worker can be made.
        """

    def close(self) -> None:
        """Ends the workers, whatever they do."""


class ContextBackend:
    """`with backend:` closes it."""

    def __enter__(self: B) -> B:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, whatever they do."""
