"""Search for a loss: `tools/search_loss.py`, `fastreid-ext-search-loss`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastreid_ext.config import load_config
from fastreid_ext.engine.cli.arguments import add_resource_arguments, misplaced_option, resources_from
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.searches import SearchResources, build_loss_search
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.env import machine_info
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and searches, or reports."""
    parser = _parser()
    args = parser.parse_args(arguments)
    misplaced = misplaced_option(args.options)
    if misplaced:
        parser.error(f"options such as {misplaced} go before the first KEY")
    resources = resources_from(parser, args)
    if args.resume and (args.report or args.predictor_quality):
        parser.error("--resume continues a search: leave it out with --report and --predictor-quality")
    run(lambda: _program(args, resources))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Search for a loss, as the config's SEARCH.LOSS says; the rest of the config is the proxy task.",
        epilog="KEY VALUE pairs overwrite the config: SEARCH.LOSS.MAX_EVALUATIONS 100 OUTPUT_DIR logs/mine",
    )
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="YAML file, or a short name: gms/search_market"
    )
    parser.add_argument("--resume", action="store_true", help="continue the search in OUTPUT_DIR")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--report", action="store_true", help="write report.html from what there is, and end")
    actions.add_argument("--baselines", action="store_true", help="evaluate hand-crafted losses on the same proxy task")
    actions.add_argument("--predictor-quality", action="store_true", help="cross-validate the predictor on the trials")
    add_resource_arguments(parser)
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to overwrite")
    return parser


def _program(args: argparse.Namespace, resources: SearchResources) -> None:
    cfg = load_config(args.config_file, args.options)
    search = build_loss_search(cfg, resources=resources, show_progress=sys.stderr.isatty())
    if args.report:
        print(search.report())
        print(f"written: {search.write_report()}")
        return
    setup_logger(cfg.OUTPUT_DIR)
    keep_freed_memory()
    log = get_logger(__name__)
    log.info("  ".join(f"{name} {value}" for name, value in machine_info().items()))
    if args.predictor_quality:
        found = search.measure_predictor()
    elif args.baselines:
        found = search.run_baselines()
    else:
        search.run(resume=args.resume)
        found = search.report()
    log.info(f"\n{found}")
