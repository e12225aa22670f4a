"""Which files are meant, and where their modern forms go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.compat.config_report.yaml_text import MADE_FROM
from fastreid_ext.config import ConfigError

__all__ = ["Found", "check_targets", "find_configs"]


@dataclass(frozen=True)
class Found:
    """Files that are meant.

    Attributes:
        files: each with its path below the folder that was named; of a file that was named itself, its name.
        bases: how many bases of folders are left out.
    """

    files: Mapping[Path, Path]
    bases: int = 0

    def targets(self, output: Path) -> dict[Path, Path]:
        """Where the modern form of each file goes: `output` itself for one file, a tree like that of the files else.

        Raises:
            ConfigError: two files have one target, `output` is no folder, or nothing can be written there.
        """
        if len(self.files) == 1 and not output.is_dir():
            targets = dict.fromkeys(self.files, output)
        elif output.exists() and not output.is_dir():
            raise ConfigError(f"--output {output} is a file; {len(self.files)} configs need a folder")
        else:
            targets = {path: output / below.with_name(f"{below.stem}.modern.yml") for path, below in self.files.items()}
        sources: dict[Path, Path] = {}
        for path, target in targets.items():
            if target in sources:
                raise ConfigError(
                    f"{sources[target]} and {path} would both be written to {target}: name the folder above both, or "
                    f"run once for each"
                )
            sources[target] = path
            _check_writable(target)
        return targets


def find_configs(places: Sequence[str]) -> Found:
    """The YAML files among `places` and below the folders among them, each once.

    Left out of a folder are modern forms that were written there, and bases, whose names begin with "Base", unless it
    has nothing else.

    Raises:
        ConfigError: nothing of that name, or a folder without YAML.
    """
    files: dict[Path, Path] = {}
    seen: set[Path] = set()
    left_out: set[Path] = set()
    for place in map(Path, places):
        if not place.exists():
            raise ConfigError(f"no config file or folder {place} (looked in {Path.cwd()})")
        found, bases = _below(place) if place.is_dir() else ([place], [])
        left_out.update(path.resolve() for path in bases)
        for path in found:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                files[path] = path.relative_to(place) if place.is_dir() else Path(path.name)
    return Found(files, len(left_out - seen))


def check_targets(texts: Mapping[Path, str]) -> None:
    """Looks for files that would be lost; the same text again is no loss.

    Args:
        texts: what is to be written, by target.

    Raises:
        ConfigError: there is another file of that name.
    """
    taken = [str(path) for path, text in texts.items() if path.is_file() and path.read_bytes() != text.encode()]
    if taken:
        raise ConfigError(f"not overwritten: {', '.join(taken)}; name another --output, or remove them first")


def _below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files, and bases that are left out."""
    candidates = sorted(path for path in folder.rglob("*") if path.suffix in (".yml", ".yaml") and path.is_file())
    files = [path for path in candidates if not _made_here(path)]
    if not files:
        raise ConfigError(f"no YAML file below the folder {folder}{_but(candidates)}")
    bases = [path for path in files if path.name.startswith("Base")]
    return (files, []) if len(bases) == len(files) else ([path for path in files if path not in bases], bases)


def _made_here(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MADE_FROM)) == MADE_FROM.encode()
    except OSError:
        return False


def _but(made: Iterable[Path]) -> str:
    return " but modern forms" if any(made) else ""


def _check_writable(target: Path) -> None:
    if target.is_dir():
        raise ConfigError(f"cannot write {target}: it is a folder")
    above = next(folder for folder in target.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"cannot write {target}: {above} is a file, not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write {target}: no permission to write in {above}")
