"""Metrics of retrieval and re-identification, and what improves rankings after training."""

from fastreid_ext.evaluation.classification import ClasEvaluator
from fastreid_ext.evaluation.clustering import nmi
from fastreid_ext.evaluation.feature_files import load_features, save_features
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.query_expansion import average_query_expansion
from fastreid_ext.evaluation.rank import RankMetrics, rank_metrics
from fastreid_ext.evaluation.rerank import k_reciprocal_rerank
from fastreid_ext.evaluation.retrieval import RetrievalMetrics, recall_at_k, retrieval_metrics
from fastreid_ext.evaluation.roc import RocCurve, roc_curve

__all__ = [
    "ClasEvaluator",
    "FeatureSet",
    "RankMetrics",
    "RetrievalMetrics",
    "RocCurve",
    "average_query_expansion",
    "k_reciprocal_rerank",
    "load_features",
    "nmi",
    "rank_metrics",
    "recall_at_k",
    "retrieval_metrics",
    "roc_curve",
    "save_features",
]
