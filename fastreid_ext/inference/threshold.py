"""From a similarity to a verdict."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fastreid_ext.functional.distances import Metric
from fastreid_ext.inference.card import ModelCard
from fastreid_ext.utils.files import write_json

__all__ = ["Threshold", "ThresholdError", "Verdict"]


class ThresholdError(ValueError):
    """A threshold that cannot be found, read, or used with a model."""


@dataclass(frozen=True)
class Threshold:
    """The similarity from which on two images count as of one identity, for one model.

    Attributes:
        value: the similarity.
        fpr: the largest share of impostor pairs (of two identities) to be accepted, as it was asked for.
        measured_fpr: the share that was accepted.
        tpr: the share of genuine pairs (of one identity) that was accepted.
        num_genuine: genuine pairs it was measured on.
        num_impostor: impostor pairs it was measured on.
        metric: of the similarity.
        beta: of the normalisation before it; None for none.
        fingerprint: of the model.
        data: what it was measured on.
        warnings: what is to be said against it.
    """

    value: float
    fpr: float
    measured_fpr: float
    tpr: float
    num_genuine: int
    num_impostor: int
    metric: Metric
    beta: float | None
    fingerprint: str
    data: str = ""
    warnings: tuple[str, ...] = ()

    def check(self, card: ModelCard) -> None:
        """Refuses models that it says nothing of.

        Raises:
            ThresholdError: other weights, or other options of embedding or comparing, than it was measured with.
        """
        if self.fingerprint != card.fingerprint:
            raise ThresholdError(
                f"the threshold is of a model with fingerprint {self.fingerprint}, this one has {card.fingerprint}: "
                "other weights, or other options that change embeddings; calibrate this model, too"
            )
        if (self.metric, self.beta) != (card.metric, card.beta):
            raise ThresholdError(
                f"the threshold is of similarities by {_measure(self.metric, self.beta)}, this model compares by "
                f"{_measure(card.metric, card.beta)}: calibrate it with these options, too"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON.

        Raises:
            OSError: it could not be written.
        """
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Threshold:
        """What `save` wrote.

        Raises:
            ThresholdError: there is no such file, or it holds something else.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            threshold = cls(**{**values, "warnings": tuple(values["warnings"])})
            numbers = (threshold.value, threshold.fpr, threshold.measured_fpr, threshold.tpr)
            if not all(isinstance(number, float) for number in numbers):
                raise ValueError("value, fpr and tpr are numbers")
        except OSError as error:
            raise ThresholdError(f"cannot read threshold {path}: {error.strerror}") from error
        except (TypeError, KeyError, ValueError) as error:
            raise ThresholdError(f"{path} is no threshold that calibrate has saved: {error}") from error
        return threshold


@dataclass(frozen=True)
class Verdict:
    """Whether two images are of one identity.

    Attributes:
        same: the similarity reaches the threshold.
        similarity: of the two.
        threshold: what it was compared with.
    """

    same: bool
    similarity: float
    threshold: Threshold


def _measure(metric: Metric, beta: float | None) -> str:
    return f"TEST.METRIC {metric} " + ("without TEST.BETA_NORM" if beta is None else f"with TEST.BETA_NORM.BETA {beta}")
