"""Commands to copy."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

__all__ = ["command"]


def command(tool: str, *words: str) -> str:
    """A command line of another program of the toolbox, in the form in which this one was called.

    Args:
        tool: its file in `tools/` without the suffix: "train_net".
        words: behind it, as they are; what a shell would change is quoted.
    """
    called = Path(sys.argv[0])
    file = called.with_name(f"{tool}.py")
    if called.suffix == ".py" and file.is_file():
        program = ["python", str(file)]
    else:
        program = [f"fastreid-ext-{tool.removesuffix('_net').replace('_', '-')}"]
    return shlex.join([*program, *words])
