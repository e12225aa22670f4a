"""Command lines whose first word says what is to be done."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["first_word", "parser_of"]


def first_word(words: list[str], kind: str, known: Mapping[str, str], description: str) -> str:
    """The first word; ends the program where it is none of those that are known, or asks for help.

    Args:
        words: the command line.
        kind: what the first word is: "picture".
        known: words, and what each stands for.
        description: of the program.
    """
    listed = "\n".join(f"  {name:<12}{text}" for name, text in known.items())
    place = kind.upper()
    parser = argparse.ArgumentParser(
        usage=f"%(prog)s {place} ...",
        description=description,
        epilog=f"{kind}s:\n{listed}\n\n%(prog)s {place} --help tells the options of each",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(kind, choices=list(known), metavar=place, help=", ".join(known))
    return str(getattr(parser.parse_args(words[:1]), kind))


def parser_of(name: str, usage: str, *, description: str, example: str) -> argparse.ArgumentParser:
    """Of what stands behind the first word.

    Args:
        name: the first word.
        usage: what is expected behind it.
        description: of what is done.
        example: of what stands behind it.
    """
    return argparse.ArgumentParser(
        prog=f"{Path(sys.argv[0]).name} {name}",
        usage=f"%(prog)s {usage}",
        description=description,
        epilog=f"example: %(prog)s {example}",
    )
