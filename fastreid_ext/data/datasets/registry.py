"""The registry of data sets and the call that makes one from its name in a config."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid_ext.config import ConfigError
from fastreid_ext.config.spec import parse_spec
from fastreid_ext.registry import Registry, close_matches
from fastreid_ext.utils.dist import main_process_first

if TYPE_CHECKING:
    from fastreid_ext.data.datasets.base import ReIDDataset

__all__ = ["DATASETS", "build_dataset", "datasets_root"]

DATASETS = Registry("data set")
"""Classes called as `DatasetClass(root=..., **options)` that give a `ReIDDataset`."""


def datasets_root(configured: str = "") -> Path:
    """Folder of the data sets: the configured one, else `$FASTREID_DATASETS`, else `datasets`."""
    return Path(configured or os.environ.get("FASTREID_DATASETS", "") or "datasets").expanduser()


def build_dataset(spec: str, root: str = "", *, strict: bool = True) -> ReIDDataset:
    """Makes the data set that a config names, such as `"Market1501"` or `"SynthReID:kind=vehicle,seed=3"`.

    Args:
        spec: the registered name, with options behind a colon.
        root: folder of the data sets, see `datasets_root`.
        strict: off lets a data set that is not complete through, where the data set has such an option.

    Raises:
        RegistryError: no data set of that name.
        ConfigError: the data set has no such option.
        DatasetError: its files are missing or are not what its authors publish.
    """
    name, arguments, options = parse_spec(spec)
    target = DATASETS.get(name)
    known = [parameter for parameter in inspect.signature(target).parameters if parameter != "root"]
    for option in options:
        if option not in known:
            matches = close_matches(option, known)
            hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
            raise ConfigError(f"data set {name} has no option '{option}'.{hint} Options: {', '.join(known) or 'none'}")
    if arguments and (not known or known[0] in options):
        raise ConfigError(f"data set {name} takes no value before its options: {spec!r}")
    options = dict(zip(known, arguments, strict=False)) | options
    missing = [
        parameter.name
        for parameter in inspect.signature(target).parameters.values()
        if parameter.default is parameter.empty and parameter.name != "root" and parameter.name not in options
    ]
    if missing:
        raise ConfigError(f"data set {name} needs {', '.join(missing)}: write {name}:{missing[0]}=...")
    if not strict and "strict" in known:
        options = {"strict": False} | options
    # Some sets write files on first use: drawn images, unpacked ones.
    with main_process_first():
        dataset: ReIDDataset = target(root=datasets_root(root), **options)
    dataset.spec = spec
    return dataset
