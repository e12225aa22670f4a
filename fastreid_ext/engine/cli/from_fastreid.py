"""Say what configs of FastReID do here: `tools/from_fastreid.py`, `fastreid-ext-from-fastreid`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from fastreid_ext.compat.config_report import (
    Explanation,
    Found,
    build_network,
    check_options,
    check_targets,
    explain,
    find_configs,
    fit,
    reports,
    summary,
)
from fastreid_ext.config import ConfigError
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.cli.arguments import is_key
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.utils.files import atomic_write

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, explains each file, writes the modern forms where asked to."""
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    if not args.words:
        parser.error("no config given: name YAML files of FastReID, or folders of them")
    run(lambda: _until_nobody_reads(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="%(prog)s [option ...] FILE or FOLDER ... [KEY VALUE ...]",
        description="Say what a config of FastReID, of version 0.1 to 1.4, does here: the model, data and schedule in "
        "words, what differs from FastReID, which values look like mistakes, and the same config for this toolbox.",
        epilog="example: from_fastreid.py configs/Market1501/sbs_R50.yml --output sbs_R50.yml TEST.FLIP.ENABLED True",
    )
    parser.add_argument(
        "words", nargs="*", metavar="FILE, FOLDER, KEY VALUE", help="YAML files and folders, then keys to overwrite"
    )
    parser.add_argument(
        "--output",
        default="",
        metavar="FILE",
        help="write the modern config there; of several files a folder, which gets the same tree of <name>.modern.yml",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="let the modern config do what FastReID does, as its published figures and weights need it",
    )
    parser.add_argument(
        "--summary", action="store_true", help="one line a file: what differs and what looks wrong, counted"
    )
    parser.add_argument("--weights", default="", metavar="FILE", help="also say whether this checkpoint fits")
    return parser


def _until_nobody_reads(args: argparse.Namespace) -> None:
    try:
        _program(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough; what is left must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _program(args: argparse.Namespace) -> None:
    found, options = _found(args.words)
    targets = found.targets(Path(args.output)) if args.output else {}
    explained = _explained(found, options, published=args.published)
    read = {path: what for path, what in explained.items() if not isinstance(what, ConfigError)}
    texts = {target: read[path].file for path, target in targets.items() if path in read}
    check_targets(texts)
    compared = _compared(args.weights, read) if args.weights else []
    # Ahead of the reports, which a reader may break off.
    for target, text in texts.items():
        with atomic_write(target) as file:
            file.write(text)
    if read or args.summary:
        print(summary(explained, found.bases) if args.summary else reports(list(read.values())))
    for line in compared:
        print(line)
    for target in texts:
        print(f"\nwritten: {target}")
    _tell_failures(explained)


def _found(words: Sequence[str]) -> tuple[Found, Sequence[str]]:
    """Files, and the `KEY VALUE` pairs behind them."""
    begins = (i for i, word in enumerate(words) if is_key(word.partition("=")[0]) and not Path(word).exists())
    first = next(begins, len(words))
    options = words[first:]
    check_options(options)
    if not first:
        raise ConfigError(f"no config before {options[0]}: files come first, then KEY VALUE pairs")
    return find_configs(words[:first]), options


def _explained(found: Found, options: Sequence[str], *, published: bool) -> dict[Path, Explanation | ConfigError]:
    explained: dict[Path, Explanation | ConfigError] = {}
    for path in found.files:
        try:
            explained[path] = explain(path, options, published=published)
        except ConfigError as error:
            if len(found.files) == 1:
                raise
            explained[path] = error
    return explained


def _compared(weights: str, read: Mapping[Path, Explanation]) -> list[str]:
    """How a checkpoint fits the modern forms."""
    state = read_checkpoint(weights)
    tensors = {name: value for name, value in state.get("model", state).items() if isinstance(value, torch.Tensor)}
    lines = []
    for path, what in read.items():
        told = fit(build_network(what.cfg, classes=what.old.identities or 2), tensors)
        lines += [f"\n{weights} in {path}", *(f"  {line}" for line in told)]
    return lines


def _tell_failures(explained: Mapping[Path, Explanation | ConfigError]) -> None:
    """Ends the program with status 1 where a file cannot be read or does not run here."""
    unread = [str(what) for what in explained.values() if isinstance(what, ConfigError)]
    stopped = [str(path) for path, what in explained.items() if isinstance(what, Explanation) and what.not_here]
    if len(explained) == len(stopped) == 1:
        print(f"error: {stopped[0]} does not run here", file=sys.stderr)
        sys.exit(1)
    for failures, fault in ((unread, "cannot be read"), (stopped, "do not run here")):
        if failures:
            count = f"{len(failures)} of {len(explained)} files"
            print(f"error: {count} {fault}:", *failures, sep="\n  ", file=sys.stderr)
    if unread or stopped:
        sys.exit(1)
