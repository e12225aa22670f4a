"""Re-ranking against the bare product of all images with all, and against dense NumPy code."""

from __future__ import annotations

from fastreid_ext.engine.benchmarks.classic_evaluation import dense_rerank
from fastreid_ext.engine.benchmarks.evaluation_data import MARKET, MSMT17, SMALL, DrawnSet, size_of
from fastreid_ext.engine.benchmarks.evaluation_report import GROWTH, add_growth, add_trial
from fastreid_ext.engine.benchmarks.own_process import Trial, Work
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.evaluation.rank import rank_metrics
from fastreid_ext.evaluation.rerank import k_reciprocal_rerank, reranked_distances
from fastreid_ext.utils.memory import available_memory

__all__ = ["rerank"]


def _ranked(drawn: DrawnSet) -> float:
    return rank_metrics(None, None, *drawn.ids, distances=reranked_distances(drawn.query, drawn.gallery)).mAP


def _matrix(drawn: DrawnSet) -> None:
    k_reciprocal_rerank(drawn.query, drawn.gallery)


def _dense(drawn: DrawnSet) -> None:
    dense_rerank(drawn.features.cpu().numpy(), drawn.queries)


RANKED = Work("reranked_distances, rank_metrics", _ranked)
MATRIX = Work("k_reciprocal_rerank", _matrix)
DENSE = Work("classic: dense NumPy re-ranking", _dense)


@BENCHMARKS.register()
def rerank(options: Options) -> Report:
    """Re-ranking: time over the bare product of all images with all, memory, dense code, growth with N.

    Raises:
        ValueError: nothing is small enough for the options.
    """
    report = Report()
    for size in (SMALL, MARKET, MSMT17):
        rounds = 0 if size is MSMT17 else options.repeats
        trial = Trial(size, (RANKED,), product="all", rounds=rounds)
        add_trial(report, trial, options, "rerank", ("over_product", "memory_mb"))
    for size in (SMALL, size_of(5_040), size_of(9_906), MARKET):
        # Distances of all pairs and their order in int64 are as much as three arrays of float32; five leave room.
        enough = available_memory() > 5 * 4 * size.images**2
        trial = Trial(size, (MATRIX,), classic=DENSE if enough else None, product="all")
        add_trial(report, trial, options, "rerank", ("speedup",))
    add_growth(report, {"rerank.exponent": RANKED}, options)
    if not report.rows:
        raise ValueError(f"--largest {options.largest} leaves nothing to measure: take at least {min(GROWTH):,}.")
    return report
