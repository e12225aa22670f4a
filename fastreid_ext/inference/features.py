"""The features of a test set, by any model in use."""

from __future__ import annotations

import torch
from tqdm import tqdm

from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.evaluation.extraction import UnreadableImagesError
from fastreid_ext.evaluation.feature_set import FeatureSet, test_samples
from fastreid_ext.evaluation.inference import Features
from fastreid_ext.inference.embedder import Embedder
from fastreid_ext.inference.predictor import Predictor
from fastreid_ext.utils.dist import is_main_process
from fastreid_ext.utils.logger import get_logger

__all__ = ["features_of"]


def features_of(model: Embedder | Predictor, dataset: ReIDDataset, *, skip_unreadable: bool = False) -> FeatureSet:
    """The features that a model in use, of whatever file, gives of a data set.

    Args:
        model: the model.
        dataset: with its protocol.
        skip_unreadable: leave images out that cannot be read, with a warning (`TEST.SKIP_UNREADABLE`).

    Raises:
        UnreadableImagesError: some images could not be read, and are not to be left out.
    """
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    samples = test_samples(dataset)
    stream = predictor.stream(sample.path for sample in samples)
    bar = tqdm(stream, "features", len(samples), leave=False, unit="image", disable=None if is_main_process() else True)
    values, places, errors = [torch.empty(0, predictor.card.dim)], [], []
    for place, result in enumerate(bar):
        if result.embedding is not None:
            values.append(result.embedding[None])
            places.append(place)
        elif result.error is not None:
            errors.append(result.error)
    if errors and not skip_unreadable:
        raise UnreadableImagesError(errors)
    if errors:
        get_logger(__name__).warning(f"{dataset.spec}: without {len(errors)} unreadable images, such as {errors[0]}")
    return FeatureSet.of(dataset, samples, Features(torch.cat(values), torch.tensor(places, dtype=torch.int64), errors))
