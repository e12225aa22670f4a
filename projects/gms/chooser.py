"""Which of the candidates that passed the screening is worth an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.projects.gms.predictor import PredictorError
from fastreid_ext.utils.logger import get_logger

__all__ = ["PerformancePredictor", "PromisingLossChooser"]

T = TypeVar("T")
Vector = NDArray[np.float64]

_log = get_logger(__name__)


class PerformancePredictor(Protocol):
    """What the chooser asks, such as `Predictor`. Both methods raise `PredictorError` where they cannot."""

    def fit(self, vectors: Any, performances: Any, *, stop: Callable[[], bool] | None = None) -> None:
        """Learns anew; equal data in equal order give an equal predictor."""

    def predict(self, vectors: Any) -> NDArray[np.float64]:
        """One number for each vector."""


class PromisingLossChooser(Generic[T]):
    """Collects candidates and lets the best of them pass, by a predictor's opinion.

    Before `start` evaluations every candidate passes. From then on candidates are collected; of `pool_size` of them the
    one with the highest prediction passes and the others are forgotten. The predictor learns from all evaluations when
    there are `start`, and again whenever another `interval` of them has come.

    Deliberately not Algorithm 4 to the letter, which never ends: with E = E_0 evaluations it returns None each time,
    so that E stays E_0, and while E - E_0 is a multiple of the interval it trains at every call. Here the predictor is
    updated once for each such E, also when several evaluations are reported at once and E jumps over it, and collecting
    goes on with the same call.

    Where the predictor cannot be fitted, a warning is logged and the first candidate of the pool passes, until the next
    update is due.

    Args:
        predictor: fitted here.
        encode: a candidate as JSON, for `state_dict`.
        decode: a candidate from what `encode` made.
        start: evaluations from which on the predictor works (E_0).
        interval: evaluations between its updates (delta E).
        pool_size: candidates of which one passes (N_p).

    Source: AutoLoss-GMS, Algorithm 4.
    """

    def __init__(
        self,
        *,
        predictor: PerformancePredictor,
        encode: Callable[[T], Any],
        decode: Callable[[Any], T],
        start: int = 100,
        interval: int = 100,
        pool_size: int = 10,
    ) -> None:
        if start < 0 or interval < 1 or pool_size < 1:
            raise ValueError(f"start {start}, interval {interval}, pool_size {pool_size}: at least 0, 1 and 1")
        self.predictor = predictor
        self.start = start
        self.interval = interval
        self.pool_size = pool_size
        self._encode = encode
        self._decode = decode
        self._pool: list[tuple[T, Vector]] = []
        # Evaluations at the last update, and those that the predictor at hand was fitted to: none after a restart.
        self._updated_at: int | None = None
        self._fitted_to: int | None = None
        self._works = False

    def offer(
        self,
        candidate: T,
        vector: Vector,
        evaluated: Sequence[tuple[Vector, float]],
        *,
        stop: Callable[[], bool] | None = None,
    ) -> T | None:
        """Takes a candidate; returns the one to evaluate now, or None while it collects.

        Args:
            candidate: what passed the screening.
            vector: its sampled functions.
            evaluated: vectors and performances of all evaluations, in an order that stays: what it was before, with new
                ones behind.
            stop: asked while the predictor is fitted, which takes minutes.

        Raises:
            FitStoppedError: `stop` said so; nothing has changed, the candidate was not taken.
            ValueError: there are fewer evaluations than at the last update.
        """
        if len(evaluated) < self.start:
            return candidate
        self._update(evaluated, stop)
        self._pool.append((candidate, np.asarray(vector, dtype=np.float64)))
        if self._works and len(self._pool) < self.pool_size:
            return None
        chosen = self._pool[self._best()][0]
        self._pool.clear()
        return chosen

    def state_dict(self) -> dict[str, Any]:
        """The pool and when the predictor was updated last, as JSON."""
        pool = [{"candidate": self._encode(candidate), "vector": vector.tolist()} for candidate, vector in self._pool]
        return {"pool": pool, "updated_at": self._updated_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken.

        The next `offer` fits the predictor again, to the evaluations that there were at the last update.
        """
        self._pool = [
            (self._decode(entry["candidate"]), np.array(entry["vector"], dtype=np.float64)) for entry in state["pool"]
        ]
        self._updated_at = state["updated_at"]
        self._fitted_to = None

    def _update(self, evaluated: Sequence[tuple[Vector, float]], stop: Callable[[], bool] | None) -> None:
        wanted = len(evaluated) if self._is_due(len(evaluated)) else self._updated_at
        assert wanted is not None
        if wanted > len(evaluated):
            raise ValueError(f"the predictor learned from {wanted} evaluations, of which {len(evaluated)} are left")
        if wanted == self._fitted_to:
            return
        self._fitted_to = None
        vectors, performances = zip(*evaluated[:wanted], strict=True) if wanted else ((), ())
        try:
            self.predictor.fit(vectors, performances, stop=stop)
            self._works = True
        except PredictorError as error:
            _log.warning("candidates pass unchosen until the predictor's next update: %s", error)
            self._works = False
        self._fitted_to = self._updated_at = wanted

    def _is_due(self, number: int) -> bool:
        if self._updated_at is None:
            return True
        return (number - self.start) // self.interval > (self._updated_at - self.start) // self.interval

    def _best(self) -> int:
        if not self._works:
            return 0
        try:
            return int(np.argmax(self.predictor.predict(np.stack([vector for _, vector in self._pool]))))
        except PredictorError as error:
            _log.warning("the first of %d candidates passes: %s", len(self._pool), error)
            return 0
