"""Ranking and what else is evaluated, against the bare product of queries and gallery, and against NumPy's sort."""

from __future__ import annotations

from functools import partial

from fastreid_ext.engine.benchmarks.classic_evaluation import argsort_ranking
from fastreid_ext.engine.benchmarks.evaluation_data import MARKET, MSMT17, SMALL, SOP, VERI_WILD, DrawnSet
from fastreid_ext.engine.benchmarks.evaluation_report import add_growth, add_trial
from fastreid_ext.engine.benchmarks.own_process import Trial, Work
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.rerank import rerank
from fastreid_ext.evaluation.clustering import nmi, require_clustering
from fastreid_ext.evaluation.query_expansion import average_query_expansion
from fastreid_ext.evaluation.rank import rank_metrics
from fastreid_ext.evaluation.roc import roc_curve
from fastreid_ext.utils.logger import get_logger

__all__ = ["evaluation"]

_FEW_QUERIES = 1_000


def _rank(drawn: DrawnSet) -> float:
    return rank_metrics(drawn.query, drawn.gallery, *drawn.ids).mAP


def _roc(drawn: DrawnSet) -> None:
    roc_curve(drawn.query, drawn.gallery, *drawn.ids, exact=False)


def _expand(drawn: DrawnSet) -> None:
    average_query_expansion(drawn.query, drawn.gallery)


def _cluster(drawn: DrawnSet) -> None:
    nmi(drawn.features, drawn.pids)


def _argsort(drawn: DrawnSet, queries: int | None = None) -> float:
    q_pids, g_pids, q_camids, g_camids = (ids.cpu().numpy() for ids in drawn.ids)
    query, gallery = drawn.query[:queries].cpu().numpy(), drawn.gallery.cpu().numpy()
    return argsort_ranking(query, gallery, q_pids[:queries], g_pids, q_camids[:queries], g_camids)[1]


RANK = Work("rank_metrics", _rank)
ROC = Work("roc_curve", _roc)
EXPANSION = Work("average_query_expansion", _expand)
NMI = Work("nmi", _cluster)
ARGSORT = Work("classic: NumPy argsort, loop", _argsort)
ARGSORT_FEW = Work(
    f"classic: NumPy argsort, loop; {_FEW_QUERIES:,} queries", partial(_argsort, queries=_FEW_QUERIES), _FEW_QUERIES
)


@BENCHMARKS.register()
def evaluation(options: Options) -> Report:
    """Ranking, ROC, query expansion and `rerank`: time over the bare product, memory, classic way, growth with N."""
    report = Report()
    for size in (SMALL, MARKET, MSMT17, VERI_WILD):
        large = size in (MSMT17, VERI_WILD)
        classic, rounds = (ARGSORT_FEW, 0) if large else (ARGSORT, options.repeats)
        trial = Trial(size, (RANK,), classic, product="gallery", rounds=rounds)
        add_trial(report, trial, options, "evaluation", ("over_product", "memory_mb", "speedup"))
    add_trial(report, Trial(MARKET, (ROC,), product="gallery"), options, "evaluation", ())
    add_trial(report, Trial(MARKET, (EXPANSION,), product="all"), options, "evaluation", ())
    try:
        require_clustering()
        add_trial(report, Trial(SOP, (NMI,)), options, "evaluation", ())
    except ImportError as error:
        get_logger(__name__).warning(f"no row for the NMI: {error}")
    works = {"rank": RANK, "roc": ROC, "aqe": EXPANSION}
    add_growth(report, {f"evaluation.exponent_{name}": work for name, work in works.items()}, options)
    reranking = rerank(options)
    report.rows += reranking.rows
    report.figures |= reranking.figures
    return report
