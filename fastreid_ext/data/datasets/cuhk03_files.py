"""CUHK03's MATLAB files as PNG files and JSON, each written once, whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypedDict

from PIL import Image
from scipy.io import loadmat
from tqdm import tqdm

from fastreid_ext.utils.env import require
from fastreid_ext.utils.files import write_json

__all__ = ["ClassicIndex", "Kind", "NewSplit", "classic_index", "new_split"]

Kind = Literal["labeled", "detected"]
Person = tuple[int, int]
"""Number of the camera pair, and of the person within that pair; both from 1."""


class ClassicIndex(TypedDict):
    """Everybody's images, and who is tested in each of the classic splits."""

    people: list[tuple[int, int, list[str]]]
    test_sets: list[list[Person]]


class NewSplit(TypedDict):
    """Image names and identities of the new protocol."""

    train: list[tuple[str, int]]
    query: list[tuple[str, int]]
    gallery: list[tuple[str, int]]


def classic_index(folder: Path, kind: Kind) -> ClassicIndex:
    """The index of `<folder>/extracted_<kind>`; the first call writes that folder from `cuhk-03.mat`.

    The images are written to a temporary folder that gets its name when all are there, so several processes may call
    this at the same time, and a kill leaves nothing half done.
    """
    target = folder / f"extracted_{kind}"
    if not (target / "index.json").is_file():
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=folder))
        try:
            write_json(temporary / "index.json", _extract(folder / "cuhk03_release" / "cuhk-03.mat", kind, temporary))
            _publish(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    index: ClassicIndex = json.loads((target / "index.json").read_text(encoding="utf-8"))
    return index


def new_split(folder: Path, kind: Kind) -> NewSplit:
    """The new protocol's split; the first call writes `<folder>/index_new_<kind>.json` from its MATLAB file.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
    """
    target = folder / f"index_new_{kind}.json"
    if not target.is_file():
        config = loadmat(folder / f"cuhk03_new_protocol_config_{kind}.mat")
        names = [str(cell.item()) for cell in config["filelist"].ravel()]
        pids = config["labels"].ravel().tolist()
        write_json(
            target,
            {
                split: [(names[i - 1], int(pids[i - 1])) for i in config[f"{split}_idx"].ravel().tolist()]
                for split in ("train", "query", "gallery")
            },
        )
    split: NewSplit = json.loads(target.read_text(encoding="utf-8"))
    return split


def _extract(source: Path, kind: Kind, target: Path) -> ClassicIndex:
    h5py = require("h5py", "mat", "CUHK03")
    with h5py.File(source, "r") as mat:
        people = []
        pairs = [mat[reference][()].T for reference in mat[kind][0]]
        with tqdm(total=sum(len(cells) for cells in pairs), desc=f"CUHK03 {kind}", unit=" people") as progress:
            for pair, cells in enumerate(pairs, start=1):
                for person, references in enumerate(cells, start=1):
                    names = list(_write_images(mat, references, f"{pair}_{person:03d}", target))
                    people.append((pair, person, names))
                    progress.update()
        test_sets = [
            [(int(pair), int(person)) for pair, person in mat[reference][()].T] for reference in mat["testsets"][0]
        ]
    return {"people": people, "test_sets": test_sets}


def _write_images(mat: Any, references: Any, prefix: str, target: Path) -> Iterator[str]:
    """Names, as the new protocol calls them: `<pair>_<person>_<view>_<number>.png`; the first five are of view 1."""
    for number, reference in enumerate(references, start=1):
        pixels = mat[reference][()].T
        if pixels.ndim == 3:  # the cells of images that do not exist are no pictures
            name = f"{prefix}_{1 if number <= 5 else 2}_{number:02d}.png"
            Image.fromarray(pixels).save(target / name)
            yield name


def _publish(temporary: Path, target: Path) -> None:
    """Gives a finished folder its name, unless another process was quicker."""
    temporary.chmod(0o755)
    try:
        temporary.rename(target)
    except OSError:
        if not (target / "index.json").is_file():
            raise
