"""Check data sets: `tools/validate_data.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastreid_ext.data.datasets import build_dataset
from fastreid_ext.data.validate import validate
from fastreid_ext.engine.cli.errors import run

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, prints a report for each data set; exit code 1 when one has faults."""
    parser = argparse.ArgumentParser(description="Report what is wrong with a data set before training on it.")
    parser.add_argument("datasets", nargs="+", help='as in DATASETS.NAMES: Market1501, "MarketLayout:/my/folder", ...')
    parser.add_argument("--root", default="", help="folder of the data sets (default: $FASTREID_DATASETS or datasets)")
    parser.add_argument("--decode", action="store_true", help="also read every image to its end")
    args = parser.parse_args(arguments)
    run(lambda: _program(args))


def _program(args: argparse.Namespace) -> None:
    sound = True
    for spec in args.datasets:
        report = validate(build_dataset(spec, args.root, strict=False), decode=args.decode)
        print(report.to_text())
        sound = sound and report.ok
    if not sound:
        sys.exit(1)
