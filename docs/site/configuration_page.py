"""Writes `docs/configuration.md`, the reference of all config keys, from the defaults: `make docs` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from fastreid_ext.config.reference import ConfigKey, config_keys

PAGE = Path(__file__).resolve().parents[1] / "configuration.md"

_INTRODUCTION = """\
# Configuration

Every key with its type, default and meaning. A config file names what differs from these defaults; `KEY VALUE` behind a
command's options overwrites both. A key that does not exist is an error that lists what you may have meant. Keys and
meanings are FastReID's where FastReID has the key, the others are marked (new).

<!-- run -->
```bash
python tools/train_net.py --list keys       # this list, to search in a terminal
python tools/train_net.py --list configs    # the files that come with the toolbox
```

`_BASE_` in a file names another one, or several, that it is based on: `_BASE_: [Base-MSINet.yml, data/Base-VeRi.yml]`.
Of these the later one wins, and the file itself wins over both. A run writes what it used as `OUTPUT_DIR/config.yaml`.

<!-- Made by docs/site/configuration_page.py from the comments above the defaults: `make docs` writes it anew. -->
"""

_OWN_HEADINGS = ("MODEL", "SEARCH")
"""Sections whose parts are sections of the page, as most of them are large."""


def page() -> str:
    """The page as Markdown."""
    keys = config_keys()
    parts = [_INTRODUCTION]
    for project, of_project in groupby(keys, key=lambda key: key.project):
        if project:
            link = f"[{project}](../projects/{project}/README.md)"
            parts.append(f"## Project {project}\n\nWith `PROJECTS: [{project}]`; see {link}.\n")
        parts += _of_project(list(of_project))
    return "\n".join(parts)


def _of_project(keys: list[ConfigKey]) -> Iterator[str]:
    sections = {key.name: key for key in keys if key.is_section}
    for name, of_section in groupby(keys, key=_heading):
        listed = [key for key in of_section if key.name != name]
        title = [f"{'#' * (3 if '.' in name else 2)} `{name}`\n"] if name else []
        meaning = [f"{sections[name].meaning}\n"] if name in sections else []
        yield "\n".join([*title, *meaning, *(_table(listed) if listed else [])])


def _heading(key: ConfigKey) -> str:
    """The section of the page that a key belongs to; "" for keys without a section."""
    first, *rest = key.name.split(".")
    if not rest and not key.is_section:
        return ""
    inner = len(rest) > 1 or (len(rest) == 1 and key.is_section)
    return f"{first}.{rest[0]}" if first in _OWN_HEADINGS and inner else first


def _table(keys: list[ConfigKey]) -> Iterator[str]:
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for key in keys:
        default = "" if key.is_section else f"`{_shown(key.default)}`"
        name = f"**`{key.name}`**" if key.is_section else f"`{key.name}`"
        yield f"| {name} | {key.type} | {default} | {_cell(key.meaning)} |"
    yield ""


def _shown(default: object) -> str:
    if isinstance(default, list | tuple):
        inner = ", ".join(_shown(value) for value in default)
        return f"[{inner}]" if isinstance(default, list) else f"({inner}{',' * (len(default) == 1)})"
    text = repr(default)
    return f"{default:.6g}" if isinstance(default, float) and len(text) > len("123.675") else text


def _cell(meaning: str) -> str:
    return meaning.replace("|", "\\|").replace("<", "&lt;").replace("$", "\\$").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
