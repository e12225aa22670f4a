"""Search for an architecture: `tools/search_arch.py`, `fastreid-ext-search-arch`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastreid_ext import projects
from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.engine.cli.arguments import add_run_arguments, misplaced_option
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.launch import launch
from fastreid_ext.engine.searches import build_architecture_search
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.dist import is_main_process
from fastreid_ext.utils.env import machine_info
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and searches."""
    parser = argparse.ArgumentParser(
        description="Search for an architecture, as the config's SEARCH.ARCH says.",
        epilog="KEY VALUE pairs overwrite the config: SEARCH.ARCH.SPLIT '[50, 50]' OUTPUT_DIR logs/mine",
    )
    add_run_arguments(parser)
    args = parser.parse_args(arguments)
    misplaced = misplaced_option(args.options)
    if misplaced:
        parser.error(f"options such as {misplaced} go before the first KEY")
    run(lambda: _program(args))


def _program(args: argparse.Namespace) -> None:
    cfg = load_config(args.config_file, args.options)
    launch(
        search,
        (cfg, args.resume_from or args.resume),
        num_processes=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        device=cfg.MODEL.DEVICE,
    )


def search(cfg: CfgNode, resume: bool | str) -> None:
    """What every process of the search does."""
    run(lambda: _search(cfg, resume))


def _search(cfg: CfgNode, resume: bool | str) -> None:
    setup_logger(cfg.OUTPUT_DIR)
    keep_freed_memory()
    log = get_logger(__name__)
    log.info("  ".join(f"{name} {value}" for name, value in machine_info().items()))
    # A process that got the config from another one has not loaded its projects.
    for name in cfg.PROJECTS:
        projects.load(name)
    trainer = build_architecture_search(cfg, show_progress=is_main_process() and sys.stderr.isatty())
    trainer.resume_or_load(resume)
    trainer.train()
    unreadable = trainer.unreadable_images()
    if is_main_process():
        lines = [f"{len(unreadable)} images could not be read and were replaced by others:"] if unreadable else []
        lines += [f"  {path}: {reason}" for path, reason in sorted(unreadable.items())]
        log.info("\n" + "\n".join([*lines, trainer.report()]))
