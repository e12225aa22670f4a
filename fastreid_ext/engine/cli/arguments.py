"""What words on a command line are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from fastreid_ext.engine.searches import SearchResources
from fastreid_ext.search.backends import BACKENDS

__all__ = ["add_resource_arguments", "add_run_arguments", "is_key", "misplaced_option", "resources_from"]

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")


def is_key(word: str) -> bool:
    """Whether a word looks like a config key: `TEST.METRIC`, `SEED`."""
    return _KEY.fullmatch(word) is not None


def misplaced_option(words: Sequence[str]) -> str:
    """The first option, such as `--resume`, that argparse took for one of the `KEY VALUE` words; "" for none."""
    return next((word.partition("=")[0] for word in words if re.match("--[a-z]", word)), "")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What trainings and searches are told: config, resuming, processes, and `KEY VALUE` pairs behind all options."""
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file, or a short name: msinet/msmt")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUTPUT_DIR where it stopped")
    parser.add_argument("--resume-from", default="", metavar="CHECKPOINT", help="continue from this checkpoint")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine, one a GPU")
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0)
    parser.add_argument("--dist-url", default="auto", help="tcp://host:port of machine 0")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to overwrite")


def add_resource_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the trials of a search run."""
    parser.add_argument("--backend", default="processes", choices=BACKENDS.names(), help="where trials run")
    parser.add_argument("--workers", type=int, default=0, help="trials at a time (default: one a GPU, or one a core)")
    parser.add_argument("--cpus-per-trial", type=int, default=1, help="processor cores of each trial")
    parser.add_argument("--gpus-per-trial", type=float, default=0.0, help="GPUs of each trial, such as 1 or 0.5")
    parser.add_argument("--address", default="", help="of a Ray cluster: auto, or host:port; without it a local one")


def resources_from(parser: argparse.ArgumentParser, args: argparse.Namespace) -> SearchResources:
    """What `add_resource_arguments` was told; ends the program when it does not fit together."""
    for name in ("workers", "cpus_per_trial", "gpus_per_trial"):
        if getattr(args, name) < 0:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must not be below 0")
    if args.gpus_per_trial and args.backend == "in-process":
        parser.error("--gpus-per-trial shares GPUs among workers: add --backend processes or ray")
    if args.address and args.backend != "ray":
        parser.error("--address is that of a Ray cluster: add --backend ray")
    return SearchResources(
        backend=args.backend,
        workers=args.workers,
        cpus_per_trial=args.cpus_per_trial,
        gpus_per_trial=args.gpus_per_trial,
        address=args.address,
    )
