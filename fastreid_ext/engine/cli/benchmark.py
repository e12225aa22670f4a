"""Measure on this machine: `tools/benchmark.py`, `fastreid-ext-benchmark`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

import torch
from tabulate import tabulate

from fastreid_ext.engine.benchmarks import BENCHMARKS
from fastreid_ext.engine.benchmarks.registry import Options
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.index import Kind
from fastreid_ext.utils.env import machine_info
from fastreid_ext.utils.files import write_json
from fastreid_ext.utils.logger import setup_logger

__all__ = ["main"]

# `evaluation` reports `rerank`, too.
_REPORTED_BY_OTHERS = ("rerank",)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures, prints a table and the figures."""
    known = "; ".join(f"{entry.name}: {entry.description}" for entry in BENCHMARKS)
    parser = argparse.ArgumentParser(description="Measure on this machine.", epilog=known)
    parser.add_argument("name", help='which benchmark, or "all"')
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", metavar="FILE", help="write machine, rows and figures there")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, of which the median counts")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, default=[256, 128], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument(
        "--largest",
        type=int,
        metavar="IMAGES",
        help="evaluation, rerank: leave out test sets of more images, queries and gallery (default: none)",
    )
    parser.add_argument("--vectors", type=int, default=100_000, metavar="N", help="gallery: in it (default: 100000)")
    parser.add_argument("--kinds", nargs="+", choices=get_args(Kind), default=[], help="gallery: of index")
    args = parser.parse_args(arguments)
    run(lambda: _program(args))


def _program(args: argparse.Namespace) -> None:
    every = [name for name in BENCHMARKS.names() if name not in _REPORTED_BY_OTHERS]
    names = every if args.name == "all" else [args.name]
    benchmarks = {name: BENCHMARKS.get(name) for name in names}
    size = args.size[0], args.size[1]
    options = Options(args.device, args.repeats, args.batch_size, size, args.largest, args.vectors, args.kinds)
    machine = machine_info()
    setup_logger()
    for facts in (machine, asdict(options)):
        print("  ".join(f"{name} {value}" for name, value in facts.items()))
    rows, figures = [], {}
    for name, benchmark in benchmarks.items():
        report = benchmark(options)
        print(f"\n{name}")
        print(tabulate(report.rows, headers="keys", floatfmt=".3g", tablefmt="github"))
        rows += [{"benchmark": name, **row} for row in report.rows]
        figures.update(report.figures)
    for figure, value in figures.items():
        print(f"{figure} {value:.4g}")
    if args.json:
        write_json(args.json, {"machine": machine, "rows": rows, "figures": figures})
