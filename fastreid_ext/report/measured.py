"""What a model scores on a test set, and the rankings behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from fastreid_ext.evaluation.evaluator import evaluate_features
from fastreid_ext.evaluation.evaluators import ROC_ERROR
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.nearest_images import NearestImages
from fastreid_ext.evaluation.rank import RankMetrics
from fastreid_ext.evaluation.rankings import Rankings
from fastreid_ext.modeling.meta_arch import choose_device
from fastreid_ext.report.model import ReportModel
from fastreid_ext.utils.logger import get_logger

__all__ = ["Measured", "check_comparable", "measure"]


@dataclass(frozen=True, eq=False)
class Measured:
    """A model on a test set.

    Attributes:
        model: that was measured.
        features: of the test set.
        rankings: as the model's config asks.
        nearest: the last of these rankings, of the first trial.
        ranks: what that ranking scores.
        figures: in percent, as results.json has them: averages of all trials.
        notes: sentences for people.
    """

    model: ReportModel
    features: FeatureSet
    rankings: Rankings
    nearest: NearestImages
    ranks: RankMetrics
    figures: dict[str, float]
    notes: list[str]


def measure(model: ReportModel) -> Measured:
    """Makes a model's features and ranks them.

    Raises:
        UnreadableImagesError: images cannot be read, and `TEST.SKIP_UNREADABLE` is off.
        ValueError: features cannot be evaluated.
    """
    get_logger(__name__).info(f"{model.name}: features")
    features, unreadable = model.extract()
    get_logger(__name__).info(f"{model.name}: rankings of {features.name}")
    (results,) = evaluate_features(model.cfg, [features], device=choose_device(model.cfg.MODEL.DEVICE)).values()
    rankings = Rankings.from_config(model.cfg)
    nearest = NearestImages(features, rankings)
    ranks = nearest.ranks()
    return Measured(
        model,
        features,
        rankings,
        nearest,
        ranks,
        _percentages(results["with"][nearest.ranking] if nearest.ranking else results),
        list(_notes(model, features, unreadable, ranks)),
    )


def check_comparable(first: Measured, second: Measured) -> None:
    """Refuses two models that were not measured on the same images.

    Raises:
        ValueError: says what differs.
    """
    names = first.model.name, second.model.name
    refusal = f"{' and '.join(names)} cannot be shown side by side"
    if first.features.protocol != second.features.protocol:
        rules = " and ".join(str(each.features.protocol) for each in (first, second))
        raise ValueError(f"{refusal}: their test sets have other rules, {rules}")
    for kind, split in (("queries", 0), ("gallery images", 1)):
        own, other = (_described(each.features, split) for each in (first, second))
        if own != other:
            raise ValueError(f"{refusal}, which takes one test set: {_difference(kind, names, own, other)}")


def _described(features: FeatureSet, split: int) -> list[tuple[str, int, int]]:
    """File, pid and camera of the images of the first trial's queries or gallery; folders may have been moved."""
    images = features.trials[0][split].tolist()
    return [
        (PurePath(features.paths[image]).name, int(features.pids[image]), int(features.camids[image]))
        for image in images
    ]


def _difference(kind: str, names: Sequence[str], own: Sequence[object], other: Sequence[object]) -> str:
    if len(own) != len(other):
        return f"{names[0]} has {len(own):,} {kind}, {names[1]} {len(other):,}"
    place = next(place for place, pair in enumerate(zip(own, other, strict=True)) if pair[0] != pair[1])
    pair = f"{own[place]} of {names[0]}, {other[place]} of {names[1]}"
    return f"number {place + 1} of the {kind} (file, pid, camera) is {pair}"


def _percentages(results: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in results.items() if isinstance(value, float) and name != ROC_ERROR}


def _notes(model: ReportModel, features: FeatureSet, unreadable: Sequence[str], ranks: RankMetrics) -> Iterator[str]:
    if unreadable:
        yield (
            f"{model.name}: {len(unreadable):,} images of the test set cannot be read and are left out of all figures; "
            f"the first is {unreadable[0]}."
        )
    if (trials := len(features.trials)) > 1:
        yield f"{model.name}: figures are averages of {trials} trials; curves and queries are those of the first."
    if ranks.num_invalid:
        yield f"{model.name}: {ranks.num_invalid:,} queries have no match in the gallery and do not count in figures."
