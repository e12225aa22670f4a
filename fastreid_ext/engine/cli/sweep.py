"""Many trainings and one table: `tools/sweep.py`, `fastreid-ext-sweep`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.engine.cli.arguments import add_resource_arguments, is_key, misplaced_option, resources_from
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.searches import SearchResources
from fastreid_ext.engine.sweep.labels import find_label
from fastreid_ext.engine.sweep.plan import parse_options, plan_settings
from fastreid_ext.engine.sweep.results import SettingResult
from fastreid_ext.engine.sweep.sweep import Sweep
from fastreid_ext.engine.sweep.table import ResultTable, runs_csv
from fastreid_ext.search.errors import SearchError, SearchStopped
from fastreid_ext.utils.env import machine_info, require
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

_FOLDER = "logs/sweep"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and trains, or reports."""
    parser = _parser()
    args = parser.parse_args(arguments)
    _move_options(args)
    misplaced = misplaced_option(args.options)
    if misplaced:
        parser.error(f"options such as {misplaced} go before the first KEY")
    if args.seeds < 1:
        parser.error(f"--seeds is {args.seeds}; it must be at least 1")
    if args.resume and args.report:
        parser.error("--resume continues a sweep: leave it out with --report")
    if args.plot and not args.columns:
        parser.error("--plot draws the figures over a key that varies: name it with --columns KEY")
    resources = resources_from(parser, args)
    run(lambda: _program(args, resources))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train several configs, with several values of some keys and several seeds; ends in one table.",
        epilog="KEY=v1,v2 tries each value, several of them every combination; KEY VALUE overwrites the config: "
        "MODEL.LOSSES.TRI.MARGIN=0.1,0.3 SOLVER.MAX_EPOCH 10 OUTPUT_DIR logs/margins",
    )
    parser.add_argument(
        "--config-files", nargs="+", default=[], metavar="FILE", help="YAML files, or short names: adasp/quickstart"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each setting; the first has the config's SEED")
    parser.add_argument("--resume", action="store_true", help="continue the sweep in OUTPUT_DIR; failed runs again")
    parser.add_argument("--report", action="store_true", help="write the table from what there is, and end")
    parser.add_argument("--metrics", default="mAP,Rank-1", help="figures of the table (default: mAP,Rank-1)")
    parser.add_argument("--columns", default="", metavar="KEY", help="a key whose values become columns of the table")
    parser.add_argument("--plot", action="store_true", help="also draw the first figure over the key of --columns")
    parser.add_argument("--discard-checkpoints", action="store_true", help="keep the figures of ended runs only")
    add_resource_arguments(parser)
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY=VALUES", help="keys to vary or to overwrite")
    return parser


def _move_options(args: argparse.Namespace) -> None:
    """Argparse takes everything behind the config files for more of them."""
    files = args.config_files
    first = next((i for i, word in enumerate(files) if is_key(word.partition("=")[0])), len(files))
    args.config_files, args.options = files[:first], [*files[first:], *args.options]


def _program(args: argparse.Namespace, resources: SearchResources) -> None:
    axes, fixed = parse_options(args.options)
    if args.plot:
        require("matplotlib", "viz", "--plot")
    folders = [value for key, value in zip(fixed[::2], fixed[1::2], strict=True) if key == "OUTPUT_DIR"]
    folder = Path(folders[-1] if folders else _FOLDER)
    settings = plan_settings(args.config_files, axes, fixed)
    if args.columns:
        find_label([SettingResult(setting.labels) for setting in settings], args.columns)
    sweep = Sweep(
        folder,
        settings,
        num_seeds=args.seeds,
        resources=resources,
        keep_checkpoints=not args.discard_checkpoints,
        show_progress=sys.stderr.isatty(),
    )
    if args.report:
        print(_write_tables(args, sweep))
        return
    setup_logger(folder)
    log = get_logger(__name__)
    log.info("  ".join(f"{name} {value}" for name, value in machine_info().items()))
    log.info(f"{len(sweep.settings)} settings, {args.seeds} seeds: {len(sweep.settings) * args.seeds} runs in {folder}")
    try:
        sweep.run(resume=args.resume)
    except SearchStopped:
        log.info(f"\n{_write_tables(args, sweep)}")
        raise
    log.info(f"\n{_write_tables(args, sweep)}")
    failed = sum(len(result.failures) for result in sweep.results())
    if failed:
        raise SearchError(f"{failed} runs failed; their log.txt says where. --resume tries them again")


def _write_tables(args: argparse.Namespace, sweep: Sweep) -> str:
    """Writes all files, and returns what there is to print."""
    results = sweep.results()
    # First, as it needs to know nothing about figures.
    files = [_write(sweep.folder / "runs.csv", runs_csv(results))]
    table = ResultTable(results, [name.strip() for name in args.metrics.split(",")], columns=args.columns)
    files += [
        _write(sweep.folder / name, text)
        for name, text in (("sweep.txt", table.text()), ("sweep.md", table.markdown()), ("sweep.csv", table.csv()))
    ]
    lines = [table.text(), f"written: {', '.join(map(str, files))}"]
    if args.plot:
        # Only here, so that tables need no matplotlib.
        from fastreid_ext.engine.sweep.plot import plot_results

        plot_results(results, metric=table.metrics[0], columns=table.columns, path=sweep.folder / "sweep.svg")
        lines.append(f"plot: {sweep.folder / 'sweep.svg'}")
    return "\n".join(lines)


def _write(path: Path, text: str) -> Path:
    with atomic_write(path) as file:
        file.write(text)
    return path
