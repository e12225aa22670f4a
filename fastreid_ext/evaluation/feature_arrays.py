"""Feature sets as arrays under plain names, such as feature files hold: checked, with sentences for people."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.registry import close_matches
from fastreid_ext.utils.logger import get_logger

__all__ = ["UNKNOWN_CAMERA", "FeatureFileError", "arrays_of", "feature_set_of", "info_of"]

VERSION = 1
UNKNOWN_CAMERA = -1
"""Camera of every image where no `camids` are given."""

Arrays = Mapping[str, NDArray[Any]]

_LABELS = ("pids", "camids")
_NAMES = ("features", *_LABELS, "paths", "parts", "is_query", "is_gallery", "query", "gallery")
_NUMBERED = re.compile(r"(query|gallery)_(0|[1-9]\d*)", re.ASCII)
_FORMS = {
    "query_0, gallery_0": _NUMBERED,
    "query, gallery": re.compile("query|gallery"),
    "is_query, is_gallery": re.compile("is_(query|gallery)"),
}
_NEAR = 0.7
_LISTED = 5


class FeatureFileError(Exception):
    """A file of features that cannot be read, or arrays that do not fit together; the message says which and why."""


def arrays_of(feature_set: FeatureSet) -> dict[str, NDArray[Any]]:
    """The arrays of a feature set: `features`, `pids`, `camids`, `query_0`, ...; `paths` and `parts` if it has any."""
    arrays = {
        "features": _numpy(feature_set.values.float()),
        "pids": _numpy(feature_set.pids.long()),
        "camids": _numpy(feature_set.camids.long()),
    }
    if feature_set.parts:
        arrays["parts"] = np.array(feature_set.parts, dtype=np.int64)
    if feature_set.paths:
        arrays["paths"] = np.array(list(feature_set.paths), dtype=np.str_)
    for number, (query, gallery) in enumerate(feature_set.trials):
        arrays[f"query_{number}"] = _numpy(query.long())
        arrays[f"gallery_{number}"] = _numpy(gallery.long())
    return arrays


def info_of(feature_set: FeatureSet) -> str:
    """What is not an array: version of the format, name and protocol, as JSON."""
    return json.dumps({"version": VERSION, "name": feature_set.name, "protocol": feature_set.protocol.describe()})


def feature_set_of(arrays: Arrays, info: str, name: str) -> FeatureSet:
    """The feature set that arrays stand for; only `features` and `pids` are needed.

    Without `camids` there is no camera rule. Without a split every image queries all others, without camera rule.

    Args:
        arrays: `features` (N, D), `pids`, `camids`, `paths` (N,), `parts` (widths of several models' features
            that stand side by side), and the split: `query_0`, `gallery_0`, `query_1`, ... (indices of images, a pair a
            trial), or `query` and `gallery`, or the boolean `is_query` and `is_gallery`. Without the gallery's array,
            the gallery are all images that are no queries.
        info: as of `info_of`, any part of it, or empty.
        name: of the set, where `info` names none.

    Raises:
        FeatureFileError: an array is missing, or of another kind, shape or length than it must be, or has almost the
            name of labels or a split that are not there; indices are out of range; features are NaN or infinite; `info`
            is of a newer version.
    """
    given = _read_info(info)
    _look_at_unknown(arrays)
    values = _read_features(arrays)
    paths = _read_paths(arrays, len(values))
    _refuse_non_finite(values, paths)
    pids = _read_integers(arrays, "pids", len(values))
    has_cameras = "camids" in arrays
    camids = _read_integers(arrays, "camids", len(values)) if has_cameras else torch.full_like(pids, UNKNOWN_CAMERA)
    trials = _read_trials(arrays, len(values))
    protocol = _read_protocol(given, trials, has_cameras and bool(_split_forms(arrays)))
    if protocol.camera_rule and not has_cameras:
        raise FeatureFileError("info turns the camera rule on, but there is no array camids.")
    parts = _read_parts(arrays, values.shape[1])
    return FeatureSet(str(given.get("name", name)), values, pids, camids, trials, protocol, paths, parts)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().contiguous().numpy()


def _read_info(info: str) -> dict[str, Any]:
    try:
        given = json.loads(info or "{}")
    except json.JSONDecodeError as error:
        raise FeatureFileError(f"info is not JSON: {error}.") from error
    if not isinstance(given, dict) or not isinstance(given.get("protocol", {}), dict):
        raise FeatureFileError(f"info must be a JSON object with name and protocol, an object too; got {info[:80]}.")
    version = given.get("version", VERSION)
    if type(version) is not int:
        raise FeatureFileError(f"info: version must be a whole number, such as {VERSION}; got {version!r}.")
    if version > VERSION:
        raise FeatureFileError(
            f"a newer fastreid_ext wrote it (format {version}; this one reads up to {VERSION}): update fastreid_ext."
        )
    return given


def _read_protocol(info: Mapping[str, Any], trials: list[tuple[Tensor, Tensor]], camera_rule: bool) -> Protocol:
    """The rules that `info` gives; the others follow from the arrays."""
    own = all(torch.equal(query, gallery) for query, gallery in trials)
    rules = {"camera_rule": camera_rule, "query_is_gallery": own, **info.get("protocol", {})}
    known = {rule.name: type(rule.default) for rule in fields(Protocol)}
    for rule, value in rules.items():
        if type(value) is not known.get(rule):
            expected = f"takes {known[rule].__name__}" if rule in known else f"is none of {', '.join(known)}"
            raise FeatureFileError(f"info: the protocol's {rule} {expected}; got {value!r}.")
    if rules["query_is_gallery"] and not own:
        raise FeatureFileError(
            "info turns query_is_gallery on, but query and gallery are not the same list: make them the same, leave "
            "the split out, or turn query_is_gallery off."
        )
    try:
        return Protocol(**rules)
    except ValueError as error:
        raise FeatureFileError(f"info: {error}") from error


def _look_at_unknown(arrays: Arrays) -> None:
    """Refuses what may be a misspelt split or label, without which another protocol would hold; warns of the others."""
    for name in arrays:
        if name in _NAMES or _NUMBERED.fullmatch(name):
            continue
        near = difflib.get_close_matches(name.casefold(), _absent_names(arrays, name), cutoff=_NEAR)
        if near:
            raise FeatureFileError(
                f"array {name!r} means nothing here; did you mean {' or '.join(near)}? Rename it, or leave it out."
            )
        matches = close_matches(name, _NAMES)
        hint = f" (did you mean {' or '.join(matches)}?)" if matches else ""
        get_logger(__name__).warning(f"array {name!r} means nothing here and is passed over{hint}")


def _absent_names(arrays: Arrays, name: str) -> list[str]:
    """The labels and the arrays of the split, in the form that is used if there is one, that `name` may stand for."""
    number = name[len(name.rstrip("0123456789")) :].lstrip("0") or "0"
    forms = _split_forms(arrays) or list(_FORMS)
    split = [part.replace("0", number) for form in forms for part in form.split(", ")]
    return [known for known in (*_LABELS, *split) if known not in arrays]


def _array(arrays: Arrays, name: str) -> NDArray[Any]:
    if name not in arrays:
        present = ", ".join(sorted(arrays)) or "none"
        raise FeatureFileError(f"array {name!r} is missing; there are: {present}.")
    return arrays[name]


def _read_features(arrays: Arrays) -> Tensor:
    array = _array(arrays, "features")
    if array.ndim != 2 or array.dtype.kind != "f" or 0 in array.shape:
        raise FeatureFileError(f"features must be floating-point numbers of shape (images, dimensions); {_got(array)}.")
    with np.errstate(over="ignore"):
        # What does not fit into float32 becomes infinite, and is refused as such.
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _read_integers(arrays: Arrays, name: str, images: int) -> Tensor:
    array = _array(arrays, name)
    if array.shape != (images,) or array.dtype.kind not in "iu":
        names = array.dtype.kind in "US"
        hint = f"; numbers for names: numpy.unique({name}, return_inverse=True)[1]" if names else ""
        raise FeatureFileError(f"{name} must be {images} integers, one an image of features; {_got(array)}{hint}.")
    if array.max() > np.iinfo(np.int64).max:
        raise FeatureFileError(f"{name} must fit into 64 bits with a sign; the largest is {array.max()}.")
    return torch.from_numpy(array.astype(np.int64))


def _read_paths(arrays: Arrays, images: int) -> list[str]:
    if "paths" not in arrays:
        return []
    array = arrays["paths"]
    if array.shape != (images,) or array.dtype.kind not in "US":
        raise FeatureFileError(f"paths must be {images} strings, one an image of features; {_got(array)}.")
    try:
        texts: list[str] = (np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array).tolist()
    except UnicodeDecodeError as error:
        raise FeatureFileError(f"paths must be strings, or bytes in UTF-8: {error}.") from error
    return texts


def _read_parts(arrays: Arrays, width: int) -> tuple[int, ...]:
    if "parts" not in arrays:
        return ()
    array = arrays["parts"]
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array <= 0).any() or int(array.sum()) != width:
        raise FeatureFileError(
            f"parts must be positive widths that add up to the {width} dimensions of features; "
            f"{_got(array)}: {str(array.tolist())[:80]}."
        )
    return tuple(int(part) for part in array)


def _refuse_non_finite(values: Tensor, paths: list[str]) -> None:
    bad = (~torch.linalg.vector_norm(values, ord=torch.inf, dim=1).isfinite()).nonzero().flatten().tolist()
    if bad:
        listed = ", ".join(paths[row] if paths else f"image {row}" for row in bad[:_LISTED])
        more = ", ..." if len(bad) > _LISTED else ""
        raise FeatureFileError(
            f"features of {len(bad)} of {len(values)} images hold NaN or infinite values: {listed}{more}."
        )


def _split_forms(arrays: Arrays) -> list[str]:
    """The forms in which the split is given; none where there is none."""
    return [form for form, pattern in _FORMS.items() if any(pattern.fullmatch(name) for name in arrays)]


def _read_trials(arrays: Arrays, images: int) -> list[tuple[Tensor, Tensor]]:
    given = _split_forms(arrays)
    # Of n different numbers one below n is missing, and told, unless they are 0 to n - 1.
    numbers = {match[2] for name in arrays if (match := _NUMBERED.fullmatch(name))}
    if len(given) > 1:
        raise FeatureFileError(f"the split is given more than once, as {' and as '.join(given)}: keep one.")
    if not given:
        return [(torch.arange(images), torch.arange(images))]
    if numbers:
        pairs = [(f"query_{number}", f"gallery_{number}") for number in range(len(numbers))]
        trials = [(_read_indices(arrays, q, images), _read_indices(arrays, g, images)) for q, g in pairs]
    else:
        trials = [_read_pair(arrays, images, "is_" if "is_" in given[0] else "")]
    for number, (query, gallery) in enumerate(trials):
        if not len(query) or not len(gallery):
            raise FeatureFileError(f"trial {number} has {len(query)} queries and {len(gallery)} gallery images.")
    return trials


def _read_pair(arrays: Arrays, images: int, prefix: str) -> tuple[Tensor, Tensor]:
    """Query and gallery, of which the gallery may be missing: then it is what is not query."""
    read = _read_mask if prefix else _read_indices
    query = read(arrays, f"{prefix}query", images)
    if f"{prefix}gallery" in arrays:
        return query, read(arrays, f"{prefix}gallery", images)
    others = torch.ones(images, dtype=torch.bool)
    others[query] = False
    return query, others.nonzero().flatten()


def _read_mask(arrays: Arrays, name: str, images: int) -> Tensor:
    array = _array(arrays, name)
    if array.shape != (images,) or array.dtype.kind != "b":
        raise FeatureFileError(f"{name} must be {images} booleans, one an image of features; {_got(array)}.")
    return torch.from_numpy(np.flatnonzero(array))


def _read_indices(arrays: Arrays, name: str, images: int) -> Tensor:
    array = _array(arrays, name)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise FeatureFileError(f"{name} must be a list of indices of images, integers of one dimension; {_got(array)}.")
    outside = np.flatnonzero((array < 0) | (array >= images))
    if len(outside):
        raise FeatureFileError(
            f"{name} has {len(outside)} indices out of range, the first is {array[outside[0]]} at place {outside[0]}; "
            f"there are {images} images, 0 to {images - 1}."
        )
    return torch.from_numpy(array.astype(np.int64))


def _got(array: NDArray[Any]) -> str:
    return f"got {array.dtype} of shape {array.shape}"
