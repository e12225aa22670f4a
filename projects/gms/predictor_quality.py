"""Whether the predictor ranks losses that it has not seen, and what the search gains by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import gammaln

from fastreid_ext.projects.gms.predictor import LARGEST_INPUT, Predictor
from fastreid_ext.utils.env import require
from fastreid_ext.utils.logger import get_logger

__all__ = ["PredictorQuality", "expected_best", "predictor_quality"]

Vector = NDArray[np.float64]

# Of standardised inputs: a loss that differs more is no straight line's business.
_CLIPPED_AT = 5.0
_ALPHAS = np.logspace(-1, 6, 15)

_log = get_logger(__name__)


@dataclass(frozen=True)
class PredictorQuality:
    """How one way of choosing does on losses that it did not learn from, as the mean over folds.

    Attributes:
        name: of the way.
        kendall: rank correlation of prediction and performance, tau-b; 0 where all predictions are equal.
        kendall_std: its standard deviation over the folds.
        spearman: rank correlation, Spearman's.
        chosen: mean performance of those that it would choose from pools.
    """

    name: str
    kendall: float
    kendall_std: float
    spearman: float
    chosen: float


def predictor_quality(
    vectors: ArrayLike,
    performances: ArrayLike,
    *,
    folds: int = 5,
    seed: int = 0,
    pool_size: int = 10,
    epochs: int = 200,
    device: str = "cpu",
    make_predictor: Callable[..., Predictor] = Predictor,
    stop: Callable[[], bool] | None = None,
) -> list[PredictorQuality]:
    """Cross-validates the predictor, a ridge regression on the same vectors, chance, and the truth as the upper limit.

    The ridge regression sees values cut as the predictor does, standardised and cut again; its weight is chosen by
    leaving one out within the training folds. What chance gives is its expectation.

    Args:
        vectors: the sampled losses.
        performances: what they reached, as fractions.
        folds: parts, each of which is held out once.
        seed: of the parts and of the predictor.
        pool_size: candidates of which one is chosen.
        epochs: of the predictor's training; fewer are quicker.
        device: where the predictor is trained.
        make_predictor: called with `seed`, `epochs` and `device`.
        stop: asked before every step of the predictor's training.

    Shape:
        vectors: (E, 2 N + 1).
        performances: (E,).

    Raises:
        ValueError: fewer than three losses a fold.
        PredictorError: the predictor cannot be trained.
        FitStoppedError: `stop` said so.
        ImportError: scikit-learn is not installed.
    """
    features, actual = np.asarray(vectors, dtype=np.float64), np.asarray(performances, dtype=np.float64)
    if folds < 2 or len(actual) < 3 * folds:
        raise ValueError(f"{folds} folds need at least {3 * max(folds, 2)} evaluated losses, not {len(actual)}")
    predictor = partial(make_predictor, seed=seed, epochs=epochs, device=device)
    ways: dict[str, Callable[[Vector, Vector, Vector], Vector]] = {
        "1-D ResNet-50": lambda train, known, held: _fitted(predictor(), train, known, stop).predict(held),
        "ridge regression": lambda train, known, held: np.asarray(_ridge().fit(train, known).predict(held)),
        "random choice": lambda train, known, held: np.zeros(len(held)),
    }
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in [*ways, "the truth"]}
    parts = np.array_split(np.random.default_rng(seed).permutation(len(actual)), folds)
    for number, held in enumerate(parts, start=1):
        train = np.setdiff1d(np.arange(len(actual)), held)
        for name, way in ways.items():
            predicted = way(features[train], actual[train], features[held])
            figures[name].append(_figures(predicted, actual[held], pool_size))
        figures["the truth"].append(_figures(actual[held], actual[held], pool_size))
        _log.info("predictor quality: fold %d of %d", number, folds)
    return [_row(name, np.array(values)) for name, values in figures.items()]


def expected_best(predicted: Vector, actual: Vector, pool_size: int) -> float:
    """Mean actual value of the best predicted of a pool, over all pools that can be drawn.

    Of n values, the one with r lower predictions is the best of comb(r, pool_size - 1) of the comb(n, pool_size) pools.
    Values of one prediction share what they would get in any order.

    Shape:
        predicted: (n,).
        actual: (n,).
    """
    size = min(pool_size, len(actual))
    lower = np.arange(size - 1, len(actual))
    share = np.zeros(len(actual))
    share[size - 1 :] = np.exp(_log_comb(lower, size - 1) - _log_comb(np.array(len(actual)), size))
    _, group, count = np.unique(predicted, return_inverse=True, return_counts=True)
    group_share = np.bincount(np.sort(group), weights=share) / count
    return float(group_share[group] @ actual)


def _log_comb(n: NDArray[Any], k: int) -> Vector:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _fitted(predictor: Predictor, vectors: Vector, performances: Vector, stop: Callable[[], bool] | None) -> Predictor:
    predictor.fit(vectors, performances, stop=stop)
    return predictor


def _ridge() -> Any:
    purpose = "the comparison with a ridge regression"
    linear_model = require("sklearn.linear_model", "viz", purpose)
    pipeline, preprocessing = (
        require("sklearn.pipeline", "viz", purpose),
        require("sklearn.preprocessing", "viz", purpose),
    )
    return pipeline.make_pipeline(
        preprocessing.FunctionTransformer(np.clip, kw_args={"a_min": -LARGEST_INPUT, "a_max": LARGEST_INPUT}),
        preprocessing.StandardScaler(),
        preprocessing.FunctionTransformer(np.clip, kw_args={"a_min": -_CLIPPED_AT, "a_max": _CLIPPED_AT}),
        linear_model.RidgeCV(alphas=_ALPHAS),
    )


def _figures(predicted: Vector, actual: Vector, pool_size: int) -> tuple[float, float, float]:
    chosen = expected_best(predicted, actual, pool_size)
    if np.ptp(predicted) == 0 or np.ptp(actual) == 0:
        return 0.0, 0.0, chosen
    return float(stats.kendalltau(predicted, actual)[0]), float(stats.spearmanr(predicted, actual)[0]), chosen


def _row(name: str, figures: Vector) -> PredictorQuality:
    kendall, spearman, chosen = figures.mean(axis=0).tolist()
    return PredictorQuality(name, kendall, float(figures[:, 0].std()), spearman, chosen)
