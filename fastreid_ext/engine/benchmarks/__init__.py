"""Measurements behind `tools/benchmark.py`, a file each."""

from fastreid_ext.engine.benchmarks.adasp import adasp
from fastreid_ext.engine.benchmarks.evaluation import evaluation
from fastreid_ext.engine.benchmarks.export import export
from fastreid_ext.engine.benchmarks.gallery import gallery
from fastreid_ext.engine.benchmarks.gms import gms
from fastreid_ext.engine.benchmarks.grouploss import grouploss
from fastreid_ext.engine.benchmarks.he import he
from fastreid_ext.engine.benchmarks.loader import loader
from fastreid_ext.engine.benchmarks.msinet import msinet
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Report
from fastreid_ext.engine.benchmarks.rerank import rerank
from fastreid_ext.engine.benchmarks.sam import sam
from fastreid_ext.engine.benchmarks.train import train

__all__ = [
    "BENCHMARKS",
    "Report",
    "adasp",
    "evaluation",
    "export",
    "gallery",
    "gms",
    "grouploss",
    "he",
    "loader",
    "msinet",
    "rerank",
    "sam",
    "train",
]
