"""From a model and a data set to features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fastreid_ext.config import CfgNode
from fastreid_ext.data.build import build_test_loader
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.evaluation.domains import in_domain, is_transfer
from fastreid_ext.evaluation.feature_set import FeatureSet, test_samples
from fastreid_ext.evaluation.inference import extract_features
from fastreid_ext.evaluation.strategies import InferenceStrategies
from fastreid_ext.utils.logger import get_logger

__all__ = ["Extracted", "UnreadableImagesError", "extract"]

_LISTED = 20

Extracted = tuple[FeatureSet, list[str]]
"""Features of a data set, and the images that it is evaluated without."""


class UnreadableImagesError(Exception):
    """Test images that could not be read: the figures would be of another data set than the one named."""

    def __init__(self, errors: Sequence[UnreadableImage]) -> None:
        self.errors = list(errors)
        listed = "\n  ".join(str(error) for error in self.errors[:_LISTED])
        if len(self.errors) > _LISTED:
            listed += f"\n  and {len(self.errors) - _LISTED} more"
        super().__init__(
            f"{len(self.errors)} test images cannot be read:\n  {listed}\n"
            f"Mend them, or set TEST.SKIP_UNREADABLE True to evaluate without them."
        )


def extract(
    cfg: CfgNode,
    model: nn.Module,
    dataset: ReIDDataset,
    *,
    trained_on: Sequence[ReIDDataset | str] | None = None,
    stores: ImageStores,
) -> Extracted:
    """The features that `model` gives of a data set, with `TEST.MIXED_POOL`, `LEAKY_RELU` and `FLIP` where they are on.

    Args:
        cfg: the config.
        model: takes a batch dict and returns embeddings in evaluation mode; neither compiled nor wrapped.
        dataset: with its protocol.
        trained_on: the model's training sets, by which modules that declare `seen_domain` are told whether the data set
            is of another domain; None says that it is not.
        stores: where decoded images are kept.

    Raises:
        ConfigError: an option does not fit the model.
        UnreadableImagesError: some images could not be read and `TEST.SKIP_UNREADABLE` is off.
    """
    device: torch.device = next(model.parameters()).device
    samples = test_samples(dataset)
    loader = build_test_loader(cfg, samples, device=device, stores=stores, label=f"{type(dataset).__name__}-test")
    transfer = trained_on is not None and is_transfer(dataset, trained_on)
    with in_domain(model, seen=not transfer), InferenceStrategies.from_config(cfg).applied(model):
        extracted = extract_features(model, loader, flip=cfg.TEST.FLIP.ENABLED)
    if extracted.unreadable:
        if not cfg.TEST.SKIP_UNREADABLE:
            raise UnreadableImagesError(extracted.unreadable)
        get_logger(__name__).warning(f"evaluating without {len(extracted.unreadable)} unreadable images")
    return FeatureSet.of(dataset, samples, extracted), sorted(error.path for error in extracted.unreadable)
