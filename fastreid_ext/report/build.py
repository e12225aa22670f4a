"""From models to a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.nearest_images import new_identities_first
from fastreid_ext.evaluation.rankings import ranking_title
from fastreid_ext.evaluation.tsne import choose_images, tsne
from fastreid_ext.report.curves import curves_of
from fastreid_ext.report.measured import Measured
from fastreid_ext.report.payload import TSNE, Activation, Curves, ImageRow, ModelPart, Payload, Totals
from fastreid_ext.report.queries import by_precision, choose_listed, query_rows
from fastreid_ext.report.thumbnails import thumbnails
from fastreid_ext.utils.logger import get_logger

__all__ = ["Report", "Shown", "build_report"]

_RESULTS_WITH_ACTIVATION = 3


@dataclass(frozen=True)
class Shown:
    """How much is on the page.

    Attributes:
        queries: that are listed, at most; figures and curves are of all.
        columns: gallery images of each.
        activations: images with an activation map, at most.
        tsne: images in the t-SNE, at most; 0 for none.
        thumbnail: longer side of the images, in pixels.
    """

    queries: int = 4000
    columns: int = 10
    activations: int = 24
    tsne: int = 1000
    thumbnail: int = 128


@dataclass(frozen=True, eq=False)
class Report:
    """What `write_page` writes."""

    payload: Payload
    thumbnails: list[bytes]
    activation_pictures: list[bytes]


def build_report(models: Sequence[Measured], shown: Shown, *, made: str = "", notes: Sequence[str] = ()) -> Report:
    """Puts together what is known of one model, or of two on the same images.

    Args:
        models: that were measured, comparable if there are two.
        shown: how much of it.
        made: date and command, for the foot of the page.
        notes: sentences for people, before those on the models.

    Raises:
        ValueError: none of the images can be read.
    """
    features = models[0].features
    images = _ShownImages(features)
    notes = [*notes, *(note for each in models for note in each.notes)]
    precisions = models[0].ranks.ap.tolist()
    places = choose_listed(precisions, shown.queries)
    notes += _left_out(precisions, len(places))
    parts = [_part(each, shown, places, images, notes) for each in models]
    of_activations = [images.place(image) for image in _activation_images(models[0], shown)]
    paths = images.paths()
    small = _thumbnails(paths, shown.thumbnail, notes)
    activations, pictures = _activations(models, of_activations, paths, notes)
    payload: Payload = {
        "title": f"{' and '.join(each.model.name for each in models)} on {features.name}",
        "dataset": features.name,
        "made": made,
        "folder": images.folder(),
        "totals": _totals(features),
        "images": images.rows(),
        "models": parts,
        "activations": activations,
        "notes": notes,
    }
    return Report(payload, small, pictures)


def _totals(features: FeatureSet) -> Totals:
    queries, gallery = features.trials[0]
    return {
        "queries": len(queries),
        "gallery": len(gallery),
        "identities": len(set(features.pids[queries].tolist())),
    }


def _left_out(precisions: Sequence[float], listed: int) -> list[str]:
    """What to say of queries that are not listed."""
    number, with_match = len(precisions), len(by_precision(precisions))
    if listed == number:
        return []
    if listed == with_match:
        return [f"{number - listed:,} queries without a match in the gallery are not listed."]
    note = (
        f"{listed:,} of {number:,} queries are listed: half of them the worst, the others spread evenly over all "
        "better ones. Figures and curves are of all."
    )
    return [note]


class _ShownImages:
    """The images of a feature set that are on the page, in the order in which they were asked for."""

    def __init__(self, features: FeatureSet) -> None:
        self._features = features
        self._places: dict[int, int] = {}

    def place(self, image: int) -> int:
        return self._places.setdefault(image, len(self._places))

    def placing(self, features: FeatureSet) -> Callable[[int], int]:
        """`place` for the numbers that another feature set gives the same queries and gallery images."""
        own, other = (torch.cat(tuple(each.trials[0])).tolist() for each in (self._features, features))
        numbers = dict(zip(other, own, strict=True))
        return lambda image: self.place(numbers[image])

    def paths(self) -> list[str]:
        return [self._features.paths[image] for image in self._places]

    def folder(self) -> str:
        paths = self.paths()
        # Up to a folder.
        common = os.path.commonprefix(paths)  # noqa: RUF071
        return common[: common.rfind(os.sep) + 1]

    def rows(self) -> list[ImageRow]:
        paths, shown, common = self.paths(), list(self._places), len(self.folder())
        camids = self._features.camids
        # Sets without cameras say 0 of every image.
        known = self._features.protocol.camera_rule or bool((camids != camids[0]).any())
        pids, cameras = self._features.pids[shown].tolist(), camids[shown].tolist()
        return [
            (path[common:], pid, camera if known else -1)
            for path, pid, camera in zip(paths, pids, cameras, strict=True)
        ]


def _part(measured: Measured, shown: Shown, places: Sequence[int], images: _ShownImages, notes: list[str]) -> ModelPart:
    model, nearest = measured.model, measured.nearest
    image_at = images.placing(measured.features)
    rows = query_rows(nearest, measured.ranks, places, columns=shown.columns, image_at=image_at)
    return {
        "name": model.name,
        "fingerprint": model.fingerprint,
        "metric": measured.rankings.distance(nearest.ranking),
        "ranking": ranking_title(nearest.ranking),
        "figures": measured.figures,
        "curves": _curves(measured, notes),
        "tsne": _tsne(measured, shown.tsne, image_at, notes) if shown.tsne else None,
        "positions": None if isinstance(model.attention, str) else model.attention.positions,
        "queries": rows,
    }


def _curves(measured: Measured, notes: list[str]) -> Curves | None:
    try:
        return curves_of(measured.ranks, measured.nearest.roc())
    except ValueError as error:
        notes.append(f"{measured.model.name} has no curves: {error}")
        return None


def _tsne(measured: Measured, number: int, image_at: Callable[[int], int], notes: list[str]) -> TSNE | None:
    features = measured.features
    try:
        kept = choose_images(features, images=number)
        get_logger(__name__).info(f"{measured.model.name}: t-SNE of {len(kept):,} images")
        spots = tsne(measured.rankings.normalized(features).values[kept], metric=measured.rankings.metric)
    except ValueError as error:
        notes.append(f"{measured.model.name} has no t-SNE: {error}")
        return None
    low, high = spots.amin(0), spots.amax(0)
    x, y = ((spots - low) / (high - low).clamp_min(1e-12)).T.tolist()
    return {
        "x": [round(value, 4) for value in x],
        "y": [round(value, 4) for value in y],
        "images": [image_at(image) for image in kept.tolist()],
        "queries": torch.isin(kept, features.trials[0][0]).int().tolist(),
    }


def _activation_images(measured: Measured, shown: Shown) -> list[int]:
    """Queries and their first results: by turns the worst query and the best one, of an identity each."""
    ascending = by_precision(measured.ranks.ap.tolist())
    turns = [place for pair in zip(ascending, reversed(ascending), strict=True) for place in pair]
    images: dict[int, None] = {}
    for place in new_identities_first(dict.fromkeys(turns), measured.nearest.pids.tolist()):
        if len(images) >= shown.activations:
            break
        found = measured.nearest.of(place, _RESULTS_WITH_ACTIVATION)
        images |= dict.fromkeys([found.query, *found.images])
    return list(images)[: shown.activations]


def _thumbnails(paths: Sequence[str], side: int, notes: list[str]) -> list[bytes]:
    get_logger(__name__).info(f"thumbnails of {len(paths):,} images")
    small, errors = thumbnails(paths, side)
    if len(errors) == len(paths):
        raise ValueError(
            f"none of the {len(paths):,} images can be read, the first is {errors[0]}. Have they been moved? Paths of "
            "a feature file hold from the folder in which it was made"
        )
    if errors:
        notes.append(f"{len(errors):,} of the {len(paths):,} images shown cannot be read; the first is {errors[0]}.")
    return small


def _activations(
    models: Sequence[Measured], images: Sequence[int], paths: Sequence[str], notes: list[str]
) -> tuple[list[Activation], list[bytes]]:
    activations: list[Activation] = []
    pictures: list[bytes] = []
    for number, measured in enumerate(models):
        if isinstance(attention := measured.model.attention, str):
            if images:
                notes.append(f"{measured.model.name} has no activation maps: {attention}.")
            continue
        for image, picture in zip(images, attention.pictures([paths[image] for image in images]), strict=True):
            if picture:
                activations.append({"model": number, "image": image, "picture": len(pictures)})
                pictures.append(picture)
    return activations, pictures
