"""Say what configs of FastReID do here: `tools/from_fastreid.py`, `fastreid-ext-from-fastreid`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from fastreid_ext.compat.config_report import (
    Explanation,
    build_network,
    explain,
    find_configs,
    fit,
    report,
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
    run(lambda: _program(args))


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
        help="write the modern config there; of several files a folder, which gets <name>.modern.yml of each",
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


def _program(args: argparse.Namespace) -> None:
    first = next((i for i, word in enumerate(args.words) if is_key(word) and not Path(word).exists()), len(args.words))
    files, options = find_configs(args.words[:first]), args.words[first:]
    if not files:
        raise ConfigError(f"no config before {options[0]}: files come first, then KEY VALUE pairs")
    explained: dict[Path, Explanation | ConfigError] = {}
    for path in files:
        try:
            explained[path] = explain(path, options, published=args.published)
        except ConfigError as error:
            if len(files) == 1:
                raise
            explained[path] = error
    read = {path: what for path, what in explained.items() if not isinstance(what, ConfigError)}
    if args.summary:
        print(summary(explained))
    else:
        print("\n\n\n".join(map(report, read.values())))
    if args.weights:
        _compare(args.weights, read)
    if args.output:
        _write(Path(args.output), read, into_folder=len(files) > 1)
    failures = [str(error) for error in explained.values() if isinstance(error, ConfigError)]
    if failures:
        print(f"error: {len(failures)} of {len(files)} files cannot be read:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)


def _compare(weights: str, read: dict[Path, Explanation]) -> None:
    """Says how a checkpoint fits the modern forms."""
    state = read_checkpoint(weights)
    tensors = {name: value for name, value in state.get("model", state).items() if isinstance(value, torch.Tensor)}
    for path, what in read.items():
        told = fit(build_network(what.cfg, classes=what.old.identities or 2), tensors)
        print(f"\n{weights} in {path}", *told, sep="\n  ")


def _write(output: Path, read: dict[Path, Explanation], *, into_folder: bool) -> None:
    """Writes the modern forms; a file that is there already stays.

    Raises:
        ConfigError: there is another file of that name.
    """
    into_folder = into_folder or output.is_dir()
    texts: dict[Path, str] = {}
    for path, what in read.items():
        target = output / f"{path.stem}.modern.yml" if into_folder else output
        if target in texts:
            target = output / f"{path.parent.name}-{path.stem}.modern.yml"
        texts[target] = what.modern
    taken = [str(path) for path, text in texts.items() if path.exists() and _content(path) != text]
    if taken:
        raise ConfigError(f"not overwritten: {', '.join(taken)}; name another --output, or remove them first")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text)
        print(f"\nwritten: {path}")


def _content(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
