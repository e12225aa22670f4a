"""Writes the features of each test set into a folder: `--save-features`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.evaluation.feature_files import check_format, save_features
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.utils.logger import get_logger

__all__ = ["FeatureWriter", "file_stems"]

# File systems allow 255 bytes; the suffix and the name of the temporary file need some.
_LONGEST = 150


class FeatureWriter:
    """Called with a feature set, writes it to the file of its data set.

    Args:
        folder: of the files.
        suffix: of their names, which chooses their format.
        specs: the data sets, as configs name them.

    Raises:
        ImportError: the package for this format is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], suffix: str, specs: Sequence[str]) -> None:
        self.paths = {spec: Path(folder) / f"{stem}{suffix}" for spec, stem in file_stems(specs).items()}
        for path in self.paths.values():
            check_format(path)

    def __call__(self, feature_set: FeatureSet) -> None:
        path = self.paths[feature_set.name]
        save_features(path, feature_set)
        get_logger(__name__).info(f"features of {feature_set.name}: {path}")


def file_stems(specs: Sequence[str]) -> dict[str, str]:
    """A name for a file by data set, without characters that shells or file systems mind, each another.

    `"CUHK03:labeled=False,protocol=classic"` becomes `CUHK03_labeled=False_protocol=classic`.
    """
    stems: dict[str, str] = {}
    for spec in dict.fromkeys(specs):
        safe = re.sub(r"[^A-Za-z0-9_.=-]+", "_", spec).strip("_.")[:_LONGEST] or "features"
        # Some file systems do not tell upper from lower case.
        taken = {stem.casefold() for stem in stems.values()}
        number = 2
        stem = safe
        while stem.casefold() in taken:
            stem, number = f"{safe}_{number}", number + 1
        stems[spec] = stem
    return stems
