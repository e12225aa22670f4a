"""Many trainings and one table: `tools/sweep.py`, `fastreid-ext-sweep`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.cli.arguments import add_resource_arguments, is_key, misplaced_option, resources_from
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.searches import SearchResources
from fastreid_ext.engine.sweep.checks import check_settings, choose_metrics
from fastreid_ext.engine.sweep.distributions import draw_choices, refuse_distributions
from fastreid_ext.engine.sweep.labels import find_label
from fastreid_ext.engine.sweep.plan import parse_options, plan_choices, plan_settings
from fastreid_ext.engine.sweep.results import SettingResult
from fastreid_ext.engine.sweep.sweep import Sweep, score_name
from fastreid_ext.engine.sweep.table import ResultTable, runs_csv
from fastreid_ext.search.errors import SearchError
from fastreid_ext.utils.env import machine_info, require
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

_FOLDER, _SEEDS = "logs/sweep", 3
_FLAGS = ("--resume", "--report", "--plot", "--discard-checkpoints", "--config-files", "-h", "--help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and trains, or reports."""
    parser = _parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = _first_key(words)
    args = parser.parse_args(words[:first])
    args.options = words[first:]
    misplaced = misplaced_option(args.options)
    if misplaced:
        parser.error(f"options such as {misplaced} go before the first KEY")
    if args.seeds is not None and args.seeds < 1:
        parser.error(f"--seeds is {args.seeds}; it must be at least 1")
    if args.report and (args.resume or args.config_files):
        parser.error("--report shows the sweep of a folder as it is: give it nothing but OUTPUT_DIR and how to show it")
    if args.plot and not args.columns:
        parser.error("--plot draws the figures over a key that varies: name it with --columns KEY")
    if args.random is not None and (args.random < 1 or args.report):
        parser.error(f"--random {args.random} draws so many settings to train: at least 1, and not for --report")
    if args.random is None and args.random_seed is not None:
        parser.error("--random-seed is of settings drawn at random: say how many with --random N")
    if (args.random_seed or 0) < 0:
        parser.error(f"--random-seed is {args.random_seed}; it must not be negative")
    resources = resources_from(parser, args)
    run(lambda: _report(args) if args.report else _train(args, resources))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="%(prog)s [options] [KEY=v1,v2 ...] [KEY VALUE ...]",
        description="Train several configs, with several values of some keys and several seeds; ends in one table.",
        epilog="KEY=v1,v2 tries each value, several of them every combination; KEY VALUE overwrites the config: "
        "MODEL.LOSSES.TRI.MARGIN=0.1,0.3 SOLVER.MAX_EPOCH 10 OUTPUT_DIR logs/margins. OUTPUT_DIR is the folder of the "
        f"sweep (default: {_FOLDER}), whatever the configs say.",
    )
    parser.add_argument(
        "--config-files", nargs="+", default=[], metavar="FILE", help="YAML files, or short names: adasp/quickstart"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        help=f"runs of each setting, the first with the config's SEED (default: {_SEEDS}; 1 with --random)",
    )
    parser.add_argument(
        "--random",
        type=int,
        metavar="N",
        help="train N settings drawn at random, each config with the same ones, instead of every combination: "
        "KEY=log(a,b) is log-uniform, uniform(a,b) and integer(a,b) include both ends, v1,v2 is one of them. The table "
        "is best first by TEST.BEST_METRIC on the first of DATASETS.TESTS: take HeldOut:<training set>, no test set",
    )
    parser.add_argument(
        "--random-seed", type=int, help="of the draws (default: 0); a larger N with --resume adds settings to the same"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the sweep in OUTPUT_DIR as it was asked for, or with the configs and keys given now",
    )
    parser.add_argument("--report", action="store_true", help="write the tables of the sweep in OUTPUT_DIR, and end")
    parser.add_argument("--metrics", default="", help="figures of the table, such as mAP,Rank-1 (the default)")
    parser.add_argument("--columns", default="", metavar="KEY", help="a key whose values become columns of the table")
    parser.add_argument("--plot", action="store_true", help="also draw the first figure over the key of --columns")
    parser.add_argument("--discard-checkpoints", action="store_true", help="keep the figures of ended runs only")
    add_resource_arguments(parser)
    return parser


def _first_key(words: Sequence[str]) -> int:
    """Where options and config files end; argparse would take keys for more config files."""
    value_follows = False
    for place, word in enumerate(words):
        if word.startswith("--"):
            value_follows = "=" not in word and word not in _FLAGS
        elif value_follows:
            value_follows = False
        elif is_key(word.partition("=")[0]) and not (word.endswith((".yml", ".yaml")) or Path(word).is_file()):
            return place
    return len(words)


def _folder(fixed: Sequence[str]) -> Path:
    folders = [value for key, value in zip(fixed[::2], fixed[1::2], strict=True) if key == "OUTPUT_DIR"]
    return Path(folders[-1] if folders else _FOLDER)


def _report(args: argparse.Namespace) -> None:
    axes, fixed = parse_options(args.options)
    others = [*axes, *(key for key in fixed[::2] if key != "OUTPUT_DIR")]
    if others:
        raise ConfigError(f"--report shows the sweep of a folder as it is: leave out {', '.join(others)}")
    print(_write_tables(args, Sweep.read(_folder(fixed))))


def _asked_for(args: argparse.Namespace) -> Sweep:
    """What is to be trained, where, and with how many seeds."""
    axes, fixed = parse_options(args.options)
    folder = _folder(fixed)
    if args.random is not None:
        settings = plan_choices(args.config_files, draw_choices(axes, args.random, args.random_seed or 0), fixed)
        return Sweep(folder, settings, args.seeds or 1, best_first=True)
    if args.resume and not (args.config_files or axes or set(fixed[::2]) - {"OUTPUT_DIR"}):
        stored = Sweep.read(folder)
        return replace(stored, num_seeds=args.seeds or stored.num_seeds)
    refuse_distributions(axes)
    return Sweep(folder, plan_settings(args.config_files, axes, fixed), args.seeds or _SEEDS)


def _train(args: argparse.Namespace, resources: SearchResources) -> None:
    sweep = replace(
        _asked_for(args),
        resources=resources,
        keep_checkpoints=not args.discard_checkpoints,
        show_progress=sys.stderr.isatty(),
    )
    folder, settings, num_seeds = sweep.folder, len(sweep.settings), sweep.num_seeds
    _check(args, sweep)
    setup_logger(folder)
    log = get_logger(__name__)
    log.info("  ".join(f"{name} {value}" for name, value in machine_info().items()))
    log.info(f"settings: {settings}, seeds: {num_seeds}, runs: {settings * num_seeds}, in {folder}")
    try:
        sweep.run(resume=args.resume)
    except KeyboardInterrupt:
        # What there is not to show yet must not hide that it was stopped.
        try:
            log.info(f"\n{_write_tables(args, sweep)}")
        except ConfigError as error:
            log.warning(str(error))
        raise
    log.info(f"\n{_write_tables(args, sweep)}")
    failed = sum(len(result.failures) for result in sweep.results())
    if failed:
        raise SearchError(f"failed runs: {failed}; their log.txt says where. --resume tries them again")


def _check(args: argparse.Namespace, sweep: Sweep) -> None:
    """Nobody wants to hear of a typing error when everything is trained."""
    if args.columns:
        find_label([SettingResult(setting.labels) for setting in sweep.settings], args.columns)
    choose_metrics(sweep.settings, args.metrics)
    if args.plot:
        require("matplotlib", "viz", "--plot")
    sweep.check(resume=args.resume)
    check_settings(sweep.settings)


def _write_tables(args: argparse.Namespace, sweep: Sweep) -> str:
    """Writes all files, and returns what there is to print."""
    results = sweep.results()
    # First, as it needs to know nothing about figures.
    files = [_write(sweep.folder / "runs.csv", runs_csv(results))]
    order = ", ".join(dict.fromkeys(map(score_name, sweep.settings))) if sweep.best_first else ""
    table = ResultTable(results, choose_metrics(sweep.settings, args.metrics), columns=args.columns, order=order)
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
