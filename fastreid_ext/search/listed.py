"""A strategy that tries what it is given."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid_ext.search.protocols import Json, Proposal, Trial

__all__ = ["ListedCandidates"]


class ListedCandidates:
    """Proposes given candidates, in their order, each once.

    Args:
        candidates: as JSON, with a word on each.
    """

    def __init__(self, candidates: Sequence[tuple[Json, str]]) -> None:
        self.candidates = list(candidates)
        self._next = 0

    def ask(self) -> list[Proposal]:
        """The next one; none when all were proposed."""
        if self._next == len(self.candidates):
            return []
        candidate, note = self.candidates[self._next]
        self._next += 1
        return [Proposal(candidate, "evaluate", mutation=note)]

    def recorded(self, trials: Sequence[Trial]) -> None:
        """Nothing follows from it."""

    def tell(self, trial: Trial) -> None:
        """Nothing follows from it."""

    def state_dict(self) -> Json:
        """How many were proposed."""
        return {"next": self._next}

    def load_state_dict(self, state: Json, trials: Sequence[Trial]) -> None:
        """Goes on behind those."""
        self._next = state["next"]
