"""From a YAML file and command-line options to a frozen config."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fastreid_ext import projects
from fastreid_ext.config.checks import check
from fastreid_ext.config.defaults import defaults
from fastreid_ext.config.node import CfgNode, ConfigError
from fastreid_ext.registry import close_matches

__all__ = ["config_files", "find_config", "get_cfg", "load_config"]

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parent


def get_cfg(project_names: Sequence[str] = ()) -> CfgNode:
    """The defaults, with the keys of the named projects; a copy that the caller may change."""
    cfg = defaults()
    cfg.PROJECTS = list(project_names)
    for name in project_names:
        projects.load(name).add_config(cfg)
    return cfg


def load_config(path: str | os.PathLike[str] = "", options: Sequence[Any] = ()) -> CfgNode:
    """Reads a YAML file with its `_BASE_` chain, loads its projects, applies `options`, checks, freezes.

    `_BASE_` is a file, or a list of files of which later ones win: `_BASE_: [Base-MSINet.yml, data/Base-VeRi.yml]`.

    Args:
        path: a file, or a short name such as `"msinet/msmt"` or `"Market1501/bagtricks_R50"`; empty for the defaults.
        options: `[KEY, value, KEY, value, ...]`, which win over the file.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, a contradiction, or a file that cannot be read.
    """
    chain = _read_chain(find_config(path)) if path else []
    names = _project_names([values for _, values in chain], options)
    cfg = get_cfg(names)
    for source, values in chain:
        cfg.merge_from_mapping(values, str(source))
    cfg.merge_from_list(options)
    cfg.PROJECTS = names
    check(cfg)
    cfg.freeze()
    return cfg


def config_files() -> dict[str, Path]:
    """Every config that comes with the toolbox, by its short name."""
    shared = next((folder for folder in (_PACKAGE / "configs", _CHECKOUT / "configs") if folder.is_dir()), None)
    files = {}
    if shared is not None:
        for file in shared.rglob("*.yml"):
            files[file.relative_to(shared).with_suffix("").as_posix()] = file
    for folder in projects.__path__:
        for file in Path(folder).glob("*/configs/**/*.yml"):
            project = file.relative_to(folder).parts[0]
            name = file.relative_to(Path(folder) / project / "configs").with_suffix("").as_posix()
            files[f"{project}/{name}"] = file
    return dict(sorted(files.items()))


def find_config(path: str | os.PathLike[str]) -> Path:
    """The file that a path or a short name means.

    Raises:
        ConfigError: there is no such file.
    """
    if Path(path).is_file():
        return Path(path)
    known = config_files()
    name = re.sub(r"\.ya?ml$", "", Path(path).as_posix())
    if name in known:
        return known[name]
    matches = close_matches(name, known)
    hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
    raise ConfigError(f"no config file {os.fspath(path)!r} (looked in {Path.cwd()} and among the toolbox's own).{hint}")


def _read_chain(path: Path, below: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """The file's values behind those of its bases, in their order; a base that several share comes once, first."""
    path = path.resolve()
    if path in below:
        raise ConfigError(f"{path} is its own _BASE_")
    values = _read(path, below)
    chain: dict[Path, dict[str, Any]] = {}
    for base in _bases(path, values.pop("_BASE_", None)):
        for source, inherited in _read_chain(base, (*below, path)):
            chain.setdefault(source, inherited)
    return [*chain.items(), (path, values)]


def _read(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}, named by {below[-1] if below else 'you'}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path} must hold keys and values, not a {type(values).__name__}")
    return dict(values)


def _bases(path: Path, value: Any) -> list[Path]:
    """The files that a `_BASE_` of one name or of a list of names means."""
    names = value if isinstance(value, list) else [value] if value else []
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"_BASE_ in {path} is {value!r}; it takes a file or a list of files")
    return [path.parent / Path(name).expanduser() for name in names]


def _project_names(layers: Sequence[Mapping[str, Any]], options: Sequence[Any]) -> list[str]:
    """Projects of all layers together: a base's project is not lost where a file names another."""
    holder = CfgNode({"PROJECTS": []})
    named = [values["PROJECTS"] for values in layers if "PROJECTS" in values]
    named += [value for key, value in zip(options[::2], options[1::2], strict=False) if key == "PROJECTS"]
    names: dict[str, None] = {}
    for value in named:
        holder.merge_from_mapping({"PROJECTS": value})
        names.update(dict.fromkeys(holder.PROJECTS))
    return list(names)
