"""The promising-loss chooser, as the search's config describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastreid_ext.config import CfgNode
from fastreid_ext.projects.gms.chooser import PromisingLossChooser
from fastreid_ext.projects.gms.predictor import Predictor
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.protocols import Json, Vector

__all__ = ["ConfiguredChooser", "build_predictor"]

_PERCENT = 100


class ConfiguredChooser:
    """Candidates as JSON, scores in percent: what the evolution has.

    Args:
        cfg: its `SEARCH.LOSS.PREDICTOR` has the settings.
    """

    def __init__(self, cfg: CfgNode) -> None:
        node = cfg.SEARCH.LOSS.PREDICTOR
        self._metric = cfg.SEARCH.LOSS.METRIC
        self._chooser: PromisingLossChooser[Json] = PromisingLossChooser(
            predictor=build_predictor(cfg),
            encode=_as_it_is,
            decode=_as_it_is,
            start=node.START,
            interval=node.INTERVAL,
            pool_size=node.CANDIDATES,
        )

    def offer(self, payload: Json, vector: Vector, evaluated: Sequence[tuple[Vector, float]]) -> Json | None:
        """One of the payloads offered since the last choice, or None to go on collecting.

        Raises:
            SearchError: a score is no percentage.
        """
        odd = [score for _, score in evaluated if not 0 <= score <= _PERCENT]
        if odd:
            raise SearchError(
                f"SEARCH.LOSS.METRIC {self._metric} is {odd[0]:g}, but the predictor learns percentages: choose "
                f"another metric, or turn SEARCH.LOSS.PREDICTOR.ENABLED off"
            )
        return self._chooser.offer(payload, vector, [(seen, score / _PERCENT) for seen, score in evaluated])

    def state_dict(self) -> Json:
        """The candidates to choose from, and when the predictor was updated."""
        return self._chooser.state_dict()

    def load_state_dict(self, state: Json) -> None:
        """Takes back what `state_dict` returned."""
        self._chooser.load_state_dict(state)


def build_predictor(cfg: CfgNode, **others: Any) -> Predictor:
    """The predictor of `SEARCH.LOSS.PREDICTOR`, its other arguments as given."""
    node = cfg.SEARCH.LOSS.PREDICTOR
    settings: dict[str, Any] = {"seed": cfg.SEED, "epochs": node.EPOCHS, **others}
    return Predictor(
        **settings,
        learning_rate=node.BASE_LR,
        batch_size=node.BATCH,
        ranking_weight=node.RANKING_WEIGHT,
        temperature=node.TEMPERATURE,
    )


def _as_it_is(value: Any) -> Any:
    return value
