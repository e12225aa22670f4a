"""What words on a command line are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

__all__ = ["add_run_arguments", "is_key", "misplaced_option"]

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
