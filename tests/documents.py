"""The documents, the code in them, and what their command lines mean to the programs that they name."""

from __future__ import annotations

import argparse
import configparser
import importlib
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from fastreid_ext import projects
from fastreid_ext.config import get_cfg, load_config
from fastreid_ext.config.loader import find_config
from fastreid_ext.engine.benchmarks import BENCHMARKS
from fastreid_ext.engine.cli.arguments import is_key
from fastreid_ext.engine.sweep.plan import parse_options

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTENTS.md",
    *(ROOT / "docs").glob("*.md"),
    *ROOT.glob("projects/*/README.md"),
]

RUN = "<!-- run -->"

_BLOCK = re.compile(r"(<!-- run -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
# What stands for a value that the reader chooses.
_CHOSEN = {"SEED": "0", "GENOTYPE": "MSINet"}
# Programs that are not ours, whose options are theirs to check.
_OTHERS = ("source", "tensorboard", "git", "cd")
_MODULES = {"train_net": "train"}


def blocks(document: Path, language: str, *, marked: bool = False) -> list[str]:
    """The blocks of code in a language; with `marked`, those behind `<!-- run -->` only."""
    found = _BLOCK.findall(document.read_text(encoding="utf-8"))
    return [code for mark, kind, code in found if kind == language and (mark or not marked)]


def command_lines(code: str) -> Iterator[list[str]]:
    """The words of each command of a block, as a shell in the root of the repository would give them."""
    variables = dict(_CHOSEN)
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if len(words) == 1 and (assignment := re.fullmatch(r"([A-Za-z_]+)=(.*)", words[0])):
            variables[assignment[1]] = assignment[2]
        elif words:
            yield [name for word in words for name in _expanded(word, variables)]


def program(words: Sequence[str]) -> tuple[ModuleType, list[str]] | None:
    """The module of ours that a command runs, and its arguments; None for a program of others.

    Raises:
        AssertionError: there is no such program.
    """
    tools = [place for place, word in enumerate(words[:6]) if re.fullmatch(r"tools/\w+\.py", word)]
    if words[0] in ("python", "torchrun") and tools:
        name = Path(words[tools[0]]).stem
        assert (ROOT / words[tools[0]]).is_file(), f"there is no {words[tools[0]]}"
        return _module(_MODULES.get(name, name)), list(words[tools[0] + 1 :])
    if words[0].startswith("fastreid-ext-"):
        assert f"    {words[0]} = " in (ROOT / "setup.cfg").read_text(encoding="utf-8"), f"there is no {words[0]}"
        return _module(words[0].removeprefix("fastreid-ext-").replace("-", "_")), list(words[1:])
    if words[0] == "make":
        rules = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(f"\n{target}:" in rules for target in words[1:2]), f"there is no make {words[1]}"
    elif words[:2] == ["pip", "install"]:
        check_extras(" ".join(words))
    else:
        assert words[0] in _OTHERS, f"what is {words[0]}?"
    return None


def check_command(module: ModuleType, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the program read its command line without doing anything, and its config options be merged.

    Raises:
        SystemExit: the program refuses an option.
        ConfigError: a key or a config does not exist, or a value does not fit.
    """
    parsed: list[argparse.Namespace] = []
    with monkeypatch.context() as patch:
        for method in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, method, _recording(method, parsed))
        patch.setattr(module, "run", lambda task: None)
        patch.chdir(ROOT)
        try:
            module.main(list(arguments))
        except SystemExit as end:
            # After --help all is said.
            if end.code != 0:
                raise
            return
        told = {name: value for namespace in parsed for name, value in vars(namespace).items()}
        if module.__name__.endswith(".benchmark"):
            BENCHMARKS.get(str(told["name"]))
        _check_options(told, is_sweep=module.__name__.endswith(".sweep"))


def check_extras(text: str) -> None:
    """All extras of the package that a text names must exist."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    for listed in re.findall(r"(?:fastreid_ext|'\.)\[([\w,]+)\]", text):
        for extra in listed.split(","):
            assert setup.has_option("options.extras_require", extra), f"there is no extra {extra}"


def _check_options(told: dict[str, object], *, is_sweep: bool) -> None:
    words = told.get("options") or _from_first_key(told.get("words") or [])  # type: ignore[arg-type]
    options: list[object] = [*words]  # type: ignore[misc]
    if is_sweep:
        axes, options = parse_options([str(word) for word in options])
        known = dict(get_cfg(projects.available()).leaves())
        for key, (first, *_) in axes.items():
            # A distribution is no value; its key must exist all the same.
            options += [key, known[key] if re.match(r"(log|uniform|integer)\(", first) else first]
    files = [told.get("config_file") or "", *(told.get("config_files") or [])]  # type: ignore[misc]
    for file in files if any(files) else [""]:
        if not file or str(file).startswith("logs/"):
            # What a run will have written names its projects.
            cfg = get_cfg(projects.available())
            cfg.merge_from_list(options)
        else:
            load_config(find_config(str(file)), options)


def _from_first_key(words: Sequence[str]) -> list[str]:
    first = next((place for place, word in enumerate(words) if is_key(word) and "." in word), len(words))
    return list(words[first:])


def _recording(method: str, parsed: list[argparse.Namespace]) -> object:
    plainly = getattr(argparse.ArgumentParser, method)

    def parse(*args: object, **kwargs: object) -> argparse.Namespace:
        parsed.append(plainly(*args, **kwargs))
        return parsed[-1]

    return parse


def _expanded(word: str, variables: dict[str, str]) -> list[str]:
    word = re.sub(r"\$(\w+)", lambda match: variables[match[1]], word)
    if not re.match(r"[\w/.-]+[*\[]", word):
        return [word]
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(word)) or [word]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"fastreid_ext.engine.cli.{name}")
