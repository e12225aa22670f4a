"""The features of a test set with all that is needed to evaluate them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample
from fastreid_ext.evaluation.inference import Features
from fastreid_ext.functional.distances import SHORTEST_DIRECTION
from fastreid_ext.utils.logger import get_logger

__all__ = ["FeatureSet", "test_samples"]

_NAMED = 5


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of the images of a test set, whom and where they show, and how they are evaluated.

    Attributes:
        name: of the data set, with its options.
        values: an embedding for each image.
        pids: identities; -1 is junk.
        camids: cameras.
        paths: of the images; empty where there are none.
        trials: query and gallery of each trial, as indices of images.
        protocol: the rules of the data set.
        parts: widths of the features of several models that stand side by side; none for those of one model.

    Shape:
        values: (N, D). pids, camids: (N,).
        trials: pairs of (Q,) and (G,).
    """

    name: str
    values: Tensor
    pids: Tensor
    camids: Tensor
    trials: Sequence[tuple[Tensor, Tensor]]
    protocol: Protocol = field(default_factory=Protocol)
    paths: Sequence[str] = field(default=())
    parts: tuple[int, ...] = ()

    @classmethod
    def of(cls, dataset: ReIDDataset, samples: Sequence[Sample], features: Features) -> FeatureSet:
        """Features of `samples`, which are `test_samples(dataset)`; images that could not be read are left out."""
        kept = [samples[i] for i in features.indices.tolist()]
        place = {sample: row for row, sample in enumerate(kept)}

        def rows(split: Sequence[Sample]) -> Tensor:
            return torch.tensor([place[sample] for sample in split if sample in place], dtype=torch.int64)

        return cls(
            dataset.spec,
            features.values,
            torch.tensor([sample.pid for sample in kept], dtype=torch.int64),
            torch.tensor([sample.camid for sample in kept], dtype=torch.int64),
            [(rows(query), rows(gallery)) for query, gallery in dataset.trials()],
            dataset.protocol,
            [sample.path for sample in kept],
        )

    def to(self, device: torch.device | str) -> FeatureSet:
        """The same on another device."""
        trials = [(query.to(device), gallery.to(device)) for query, gallery in self.trials]
        tensors = {name: getattr(self, name).to(device) for name in ("values", "pids", "camids")}
        return replace(self, **tensors, trials=trials)

    def check(self) -> None:
        """Refuses what cannot be evaluated.

        Raises:
            ValueError: features are NaN or infinite (how many, and of which images), query or gallery is empty, or
                images would find themselves.
        """
        for query, gallery in self.trials:
            if not len(query) or not len(gallery):
                raise ValueError(
                    f"{self.name} has {len(query)} readable query and {len(gallery)} readable gallery images: "
                    f"nothing to evaluate"
                )
            both = int(torch.isin(query, gallery).sum())
            if both and not (self.protocol.camera_rule or self.protocol.query_is_gallery):
                raise ValueError(
                    f"{self.name}: {both} images are query and gallery and would find themselves: take them out of "
                    f"one, or turn the camera rule on; a set that is its own gallery needs protocol query_is_gallery."
                )
        self.check_values()

    def check_values(self) -> None:
        """Refuses features that mean nothing, and warns of those that mean little.

        Raises:
            ValueError: some are NaN or infinite; how many, and of which images.
        """
        bad = (~torch.linalg.vector_norm(self.values, ord=torch.inf, dim=1).isfinite()).nonzero().flatten().tolist()
        if bad:
            named = [self.paths[i] if self.paths else f"image {i}" for i in bad[:_NAMED]]
            listed = ", ".join(named) + ", ..." * (len(bad) > _NAMED)
            raise ValueError(f"{self.name}: the features of {len(bad)} images hold NaN or Inf: {listed}")
        self._warn_of_collapse()

    def _warn_of_collapse(self) -> None:
        lengths = torch.linalg.vector_norm(self.values, dim=1)
        short = int((lengths <= SHORTEST_DIRECTION).sum())
        if short:
            get_logger(__name__).warning(
                f"{self.name}: the features of {short} images have length 0, thus no direction"
            )
        if len(self.values) > 1 and torch.equal(self.values.amax(0), self.values.amin(0)):
            get_logger(__name__).warning(
                f"{self.name}: the features of all images are equal: the ranking means nothing"
            )


def test_samples(dataset: ReIDDataset) -> list[Sample]:
    """Every image of the data set's trials, once."""
    return list(dict.fromkeys(sample for trial in dataset.trials() for split in trial for sample in split))
