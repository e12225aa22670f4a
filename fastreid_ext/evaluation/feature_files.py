"""Features in files, `.npz` or `.safetensors`, that can be evaluated without the model."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.feature_arrays import (
    UNKNOWN_CAMERA,
    FeatureFileError,
    arrays_of,
    feature_set_of,
    info_of,
)
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.utils.env import require
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger

__all__ = [
    "SUFFIXES",
    "FeatureFileError",
    "check_format",
    "has_suffix",
    "is_feature_file",
    "join",
    "load_features",
    "require_paths",
    "save_features",
]

SUFFIXES = (".npz", ".safetensors")
"""Endings of the names of feature files, in lower or upper case."""

Contents = tuple[dict[str, NDArray[Any]], str]


def save_features(path: str | os.PathLike[str], feature_set: FeatureSet) -> None:
    """Writes a feature set, whole or not at all.

    An `.npz` holds, for `numpy.load`: `features` (float32), `pids`, `camids` (int64), `paths` (strings), the index
    arrays `query_0`, `gallery_0`, ... of the trials, `parts` (widths of several models' features, where these stand
    side by side), and `info`: name and protocol as JSON. A `.safetensors` holds the same, `info` in its metadata and
    `paths` as the bytes of a JSON list, as it has no strings.

    Args:
        path: its suffix chooses the format.
        feature_set: what is written.

    Raises:
        FeatureFileError: another suffix.
        ImportError: the package for this format is not installed.
        OSError: it could not be written.
    """
    check_format(path)
    write = _write_npz if has_suffix(path, ".npz") else _write_safetensors
    try:
        write(Path(path), arrays_of(feature_set), info_of(feature_set))
    except OSError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def load_features(path: str | os.PathLike[str]) -> FeatureSet:
    """Reads what `save_features` wrote, or a file of one's own; see `feature_set_of` for what it must hold.

    Nothing in a file is run: arrays of Python objects are refused.

    Raises:
        FeatureFileError: there is no such file, it is damaged or of another kind, or its arrays do not fit together.
        ImportError: the package for this format is not installed.
    """
    path = Path(path)
    check_format(path)
    if not path.is_file():
        raise FeatureFileError(f"no feature file {path.absolute()}")
    try:
        arrays, info = _read_npz(path) if has_suffix(path, ".npz") else _read_safetensors(path)
        return feature_set_of(arrays, info, path.stem)
    except FeatureFileError as error:
        raise FeatureFileError(f"{path}: {error}") from error


def has_suffix(path: str | os.PathLike[str], *suffixes: str) -> bool:
    """Whether a path ends in one of these, of `SUFFIXES` unless given, in lower or upper case."""
    return Path(path).suffix.lower() in (suffixes or SUFFIXES)


def is_feature_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds features by its name or, as weights can be in a `.safetensors`, too, by what is in it."""
    if not has_suffix(path, ".safetensors"):
        return has_suffix(path)
    package = _safetensors()
    try:
        with package.safe_open(path, framework="pt") as file:
            return "features" in file.keys()  # noqa: SIM118  # it is no mapping
    except (OSError, package.SafetensorError):
        return False


def require_paths(features: FeatureSet, purpose: str) -> None:
    """Refuses features of which the images are not known.

    Args:
        features: of a file.
        purpose: what they are needed for, with an article.

    Raises:
        FeatureFileError: there are no paths.
    """
    if not features.paths:
        raise FeatureFileError(
            f"{features.name} has no paths, and {purpose} shows images: give the file an array paths, a string an "
            "image, or let train_net.py --eval-only --save-features write it"
        )


def check_format(path: str | os.PathLike[str]) -> None:
    """Whether a file of this name could be written and read; to be asked before long work.

    Raises:
        FeatureFileError: another suffix than those of `SUFFIXES`.
        ImportError: the package for this format is not installed.
    """
    if not has_suffix(path):
        raise FeatureFileError(f"{path}: the name of a feature file ends in {' or '.join(SUFFIXES)}")
    if has_suffix(path, ".safetensors"):
        _safetensors()


def join(query: FeatureSet, gallery: FeatureSet, *, camera_rule: bool | None = None) -> FeatureSet:
    """One feature set of the queries of one and the gallery of another, as when they are in separate files.

    Args:
        query: of whose trial the queries are taken.
        gallery: of whose trial the gallery is taken.
        camera_rule: of the set; None: on where both know their cameras, and these are more than one.

    Raises:
        FeatureFileError: their features are of different width, or one is split into several trials, or they are the
            same images, which would find themselves.
    """
    for each in (query, gallery):
        if len(each.trials) != 1:
            raise FeatureFileError(f"{each.name} has {len(each.trials)} trials: it cannot be joined with another set.")
    if query.values.shape[1] != gallery.values.shape[1]:
        raise FeatureFileError(
            f"features of {query.name} have {query.values.shape[1]} dimensions, those of {gallery.name} "
            f"{gallery.values.shape[1]}: they are not of one model."
        )
    if query.parts != gallery.parts:
        raise FeatureFileError(
            f"features of {query.name} have parts {list(query.parts)}, those of {gallery.name} {list(gallery.parts)}: "
            f"they are not of the same models."
        )
    camids = torch.cat((query.camids, gallery.camids))
    if camera_rule is None:
        camera_rule = _know_cameras(query, gallery) and bool((camids != camids[0]).any())
    if not camera_rule and torch.equal(query.values, gallery.values):
        raise FeatureFileError(
            f"query and gallery have the same features, of {query.name} and {gallery.name}: without the camera rule "
            "every image would find itself. Give one file alone: an image is then passed over for itself."
        )
    return FeatureSet(
        query.name if query.name == gallery.name else f"{query.name} in {gallery.name}",
        torch.cat((query.values, gallery.values)),
        torch.cat((query.pids, gallery.pids)),
        camids,
        [(query.trials[0][0], gallery.trials[0][1] + len(query.values))],
        Protocol(camera_rule=camera_rule),
        [*query.paths, *gallery.paths] if query.paths and gallery.paths else [],
        query.parts,
    )


def _know_cameras(query: FeatureSet, gallery: FeatureSet) -> bool:
    known = [bool((each.camids != UNKNOWN_CAMERA).any()) for each in (query, gallery)]
    if known[0] != known[1]:
        lacking = gallery.name if known[0] else query.name
        get_logger(__name__).warning(f"{lacking} has no camids: no camera rule")
    return all(known)


def _write_npz(path: Path, arrays: dict[str, NDArray[Any]], info: str) -> None:
    with atomic_write(path, "wb") as file:
        np.savez(file, info=np.array(info), **arrays)  # type: ignore[arg-type]  # numpy's stub takes **kwds for a flag


def _read_npz(path: Path) -> Contents:
    with path.open("rb") as stream:
        try:
            # numpy alone would look for other formats in what is no archive, and complain of pickles.
            zipfile.ZipFile(stream).close()
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                arrays = {name: _read_member(file, name) for name in file.files}
        except (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise FeatureFileError(f"not a whole .npz file (damaged, or of another kind): {error}") from error
    info = arrays.pop("info", np.array(""))
    if info.shape != () or info.dtype.kind != "U":
        raise FeatureFileError(f"info must be one string, of JSON; got {info.dtype} of shape {info.shape}.")
    return arrays, str(info)


def _read_member(file: Any, name: str) -> NDArray[Any]:
    try:
        array = file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise FeatureFileError(
            f"{name} holds Python objects, which are not read, as reading them may run code: write strings with "
            f"numpy.array({name}, dtype=str), numbers as arrays of numbers."
        ) from error
    if not isinstance(array, np.ndarray):
        raise FeatureFileError(f"{name} is not an array.")
    return array


def _safetensors(module: str = "safetensors") -> Any:
    return require(module, "export", "a .safetensors file")


def _write_safetensors(path: Path, arrays: dict[str, NDArray[Any]], info: str) -> None:
    if "paths" in arrays:
        arrays = {**arrays, "paths": np.frombuffer(json.dumps(arrays["paths"].tolist()).encode(), np.uint8)}
    with atomic_write(path, "wb") as file:
        file.write(_safetensors("safetensors.numpy").save(arrays, metadata={"info": info}))


def _read_safetensors(path: Path) -> Contents:
    package = _safetensors()
    try:
        with package.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            info = (file.metadata() or {}).get("info", "")
    except package.SafetensorError as error:
        raise FeatureFileError(f"not a whole .safetensors file (damaged, or of another kind): {error}") from error
    # numpy has no bfloat16 and no 8-bit floats.
    arrays = {name: (t.float() if t.is_floating_point() else t).numpy() for name, t in tensors.items()}
    if "paths" in arrays:
        arrays["paths"] = _read_text(arrays["paths"])
    return arrays, info


def _read_text(encoded: NDArray[Any]) -> NDArray[Any]:
    try:
        texts = json.loads(encoded.tobytes())
    except ValueError as error:
        raise FeatureFileError(f"paths must be the bytes (uint8) of a JSON list of strings: {error}") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise FeatureFileError(f"paths must be a JSON list of strings; got {str(texts)[:80]}.")
    return np.array(texts, dtype=np.str_)
