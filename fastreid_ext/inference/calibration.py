"""Thresholds for verdicts, from images of known identities."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from fastreid_ext.data.datasets import ReIDDataset, build_dataset
from fastreid_ext.evaluation.feature_files import has_suffix, load_features
from fastreid_ext.evaluation.feature_set import FeatureSet, test_samples
from fastreid_ext.evaluation.rankings import Rankings
from fastreid_ext.evaluation.roc import RocCurve, roc_curve
from fastreid_ext.functional.distances import cosine_distance
from fastreid_ext.inference.card import ModelCard
from fastreid_ext.inference.features import features_of
from fastreid_ext.inference.predictor import Predictor
from fastreid_ext.inference.saved_config import saved_test_option
from fastreid_ext.inference.threshold import Threshold, ThresholdError
from fastreid_ext.utils.logger import get_logger

__all__ = ["calibrate"]

_LOOKED_AT = 4
# A cosine distance: more than rounding, decoders or half precision change, less than another model does.
_OTHER_MODEL = 1e-4


def calibrate(
    predictor: Predictor,
    data: str | os.PathLike[str] | ReIDDataset | FeatureSet,
    *,
    fpr: float = 1e-3,
    root: str = "",
) -> Threshold:
    """The similarity that at most a share `fpr` of the pairs of different identities reaches.

    Pairs are those of a query and a gallery image, by the rules of the data set (of its first trial): with a camera
    rule, genuine pairs are of two cameras. Take identities, and better also cameras, that the model was not trained on:
    on its training images any model is almost perfect.

    Args:
        predictor: the model.
        data: a data set or its spec, such as "Market1501"; or features of this model, or their file, as
            `train_net.py --save-features` writes it. Some of their images are embedded again, if they are at hand, to
            see whose features they are.
        fpr: false positive rate, between 0 and 1.
        root: folder of the data sets, where `data` is a spec.

    Raises:
        ThresholdError: the features are not of this model, or no threshold accepts any genuine pair.
        ValueError: `fpr` is not between 0 and 1, or there is no genuine or no impostor pair, or an embedding is not
            finite.
        UnreadableImagesError: images of the data set cannot be read, and `TEST.SKIP_UNREADABLE` is off.
        FeatureFileError, RegistryError, ConfigError, DatasetError: the file or the data set cannot be read.
    """
    if not 0 < fpr < 1:
        raise ValueError(f"a false positive rate lies between 0 and 1, both excluded; got {fpr}.")
    features, doubts = _features(predictor, data, root)
    features.check()
    threshold = _threshold(features, predictor.card, fpr, doubts)
    for warning in threshold.warnings:
        get_logger(__name__).warning(f"the threshold: {warning}")
    return threshold


def _features(
    predictor: Predictor, data: str | os.PathLike[str] | ReIDDataset | FeatureSet, root: str
) -> tuple[FeatureSet, list[str]]:
    """The features, and what is to be said against them."""
    if isinstance(data, (str, os.PathLike)):
        data = load_features(data) if has_suffix(data) else build_dataset(os.fspath(data), root)
    if isinstance(data, FeatureSet):
        return data, _doubts_about(predictor, data)
    features = features_of(predictor, data, skip_unreadable=saved_test_option(predictor.card, "SKIP_UNREADABLE"))
    left_out = len(test_samples(data)) - len(features.values)
    return features, [f"measured without {left_out} unreadable images"] if left_out else []


def _threshold(features: FeatureSet, card: ModelCard, fpr: float, doubts: list[str]) -> Threshold:
    curve = _curve(Rankings(metric=card.metric, beta=card.beta).normalized(features), card)
    distance, step = _distance(curve, fpr)
    if not curve.tpr[step]:
        raise ThresholdError(
            f"{features.name}: at a false positive rate of {fpr:g} no genuine pair would be accepted: pairs of "
            "different identities are the most similar ones. Is one person labelled as two? Else allow a larger rate."
        )
    if fpr * curve.num_impostor < 1:
        doubt = (
            f"a false positive rate of {fpr:g} cannot be measured on {curve.num_impostor:,} impostor pairs: "
            "it is set so that none of them is accepted"
        )
        doubts = [*doubts, doubt]
    return Threshold(
        value=1 - distance if card.metric == "cosine" else -distance,
        fpr=float(fpr),
        measured_fpr=float(curve.fpr[step]),
        tpr=float(curve.tpr[step]),
        num_genuine=curve.num_genuine,
        num_impostor=curve.num_impostor,
        metric=card.metric,
        beta=card.beta,
        fingerprint=card.fingerprint,
        data=features.name,
        warnings=tuple(doubts),
    )


def _curve(features: FeatureSet, card: ModelCard) -> RocCurve:
    query, gallery = features.trials[0]
    columns = (features.values, features.pids, features.camids)
    pairs = ((column[query], column[gallery]) for column in columns)
    return roc_curve(*chain.from_iterable(pairs), metric=card.metric, protocol=features.protocol)


def _distance(curve: RocCurve, fpr: float) -> tuple[float, int]:
    """The distance up to which pairs are accepted, and the place on the curve."""
    accepted = curve.threshold_at(fpr)
    step = int(torch.searchsorted(curve.thresholds, accepted))
    if not curve.exact or step in (0, len(curve.thresholds) - 1):
        return accepted, step
    # Half way to the next pair: the last accepted one is accepted again, whatever its distance is rounded to.
    return (accepted + float(curve.thresholds[step + 1])) / 2, step


def _doubts_about(predictor: Predictor, features: FeatureSet) -> list[str]:
    """What is to be said against features that came from elsewhere.

    Raises:
        ThresholdError: they are of another model.
    """
    own, width = predictor.card.dim, features.values.shape[1]
    if width != own or len(features.parts) > 1:
        raise ThresholdError(f"{features.name} holds features of {width} dimensions; this model's have {own}")
    places = torch.linspace(0, len(features.values) - 1, min(_LOOKED_AT, len(features.values))).long().tolist()
    at_hand = [place for place in places if features.paths and Path(features.paths[place]).is_file()]
    if not at_hand:
        return ["whose features these are could not be checked, as their images are not at hand"]
    embedded = predictor.embed([features.paths[place] for place in at_hand])
    distances = _differences(embedded, features.values[at_hand].to(embedded), predictor.card)
    if bool((distances > _OTHER_MODEL).any()):
        worst = at_hand[int(distances.argmax())]
        raise ThresholdError(
            f"{features.name} holds features of another model or of other options: that of {features.paths[worst]} "
            f"differs from what this model gives by as much as a cosine distance of {float(distances.max()):.2g}"
        )
    return []


def _differences(own: Tensor, other: Tensor, card: ModelCard) -> Tensor:
    """Cosine distances of pairs of embeddings; where lengths count in the comparison, as if lengths were angles.

    Shape:
        own, other: (N, D). Result: (N,).
    """
    if card.metric == "cosine" and card.beta is None:
        return cosine_distance(own, other).diagonal()
    relative: Tensor = torch.linalg.vector_norm(own - other, dim=1) / torch.linalg.vector_norm(own, dim=1)
    return relative.square() / 2
