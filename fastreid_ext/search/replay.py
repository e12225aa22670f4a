"""A strategy brought back to where its search was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastreid_ext.search.protocols import Strategy, Trial
from fastreid_ext.search.trials import TrialStore

__all__ = ["restore_strategy", "strategy_meta"]


def strategy_meta(strategy: Strategy, store: TrialStore) -> dict[str, Any]:
    """The strategy's state after `ask`, and where in the search it was taken: goes with the trials it asked for."""
    return {"state": strategy.state_dict(), "trials": store.last_number(), "finished": store.finished_count()}


def restore_strategy(strategy: Strategy, store: TrialStore) -> None:
    """Gives a strategy its newest stored state, and then everything that it was told since, in the same order.

    The state was taken when `ask` had returned. So the strategy gets the trials of before that `ask`, as they were
    then; by `recorded` those that the `ask` became; and by `tell` those that ended later.
    """
    stored = store.meta("strategy")
    if stored is None:
        return
    ended = store.finished_since(stored["finished"])
    later = {trial.number for trial in ended}
    trials = [_as_before(trial, later) for trial in store.trials()]
    strategy.load_state_dict(stored["state"], trials[: stored["trials"]])
    strategy.recorded(trials[stored["trials"] :])
    for trial in ended:
        strategy.tell(trial)


def _as_before(trial: Trial, ended_later: set[int]) -> Trial:
    if trial.number in ended_later:
        return replace(trial, state="waiting", score=None, scores={}, reason="", worker="", duration=0.0)
    if trial.proposal.duplicate_of in ended_later:
        return replace(trial, score=None)
    return trial
