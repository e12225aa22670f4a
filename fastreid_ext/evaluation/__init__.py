"""Metrics of retrieval and re-identification."""

from fastreid_ext.evaluation.rank import RankMetrics, rank_metrics

__all__ = ["RankMetrics", "rank_metrics"]
