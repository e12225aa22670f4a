"""What is said of a model beside its weights: whoever uses it needs nothing else to use it rightly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fastreid_ext.functional.distances import Metric

__all__ = ["CardError", "ModelCard"]


class CardError(ValueError):
    """A card that cannot be read."""


@dataclass(frozen=True)
class ModelCard:
    """How images become embeddings, and how embeddings are compared.

    Attributes:
        fingerprint: of weights and of all options that change embeddings. Models of one fingerprint give the same
            embeddings but for rounding, whatever the format of their files.
        size: height and width that images are resized to.
        crop: height and width of the middle that is looked at; None for all.
        dim: of the embeddings.
        pixel_mean: of each colour, on the scale of 0 to 255.
        pixel_std: of each colour, on the scale of 0 to 255.
        flip: embeddings are averaged over an image and its mirror image.
        metric: by which embeddings are compared.
        beta: of the normalisation that comes before the comparison (`TEST.BETA_NORM`); None for none.
        name: for people: meta-architecture and backbone.
        config: as YAML, of the model and its `TEST` options; empty where it is not known.
    """

    fingerprint: str
    size: tuple[int, int]
    dim: int
    crop: tuple[int, int] | None = None
    pixel_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    pixel_std: tuple[float, ...] = (1.0, 1.0, 1.0)
    flip: bool = False
    metric: Metric = "cosine"
    beta: float | None = None
    name: str = ""
    config: str = ""

    def to_json(self) -> str:
        """As a JSON object, which `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, *, source: str) -> ModelCard:
        """What `to_json` wrote; keys of later versions are passed over.

        Args:
            text: the JSON.
            source: of the text, for errors.

        Raises:
            CardError: it is not such a card.
        """
        try:
            values = json.loads(text)
            known = {field.name for field in fields(cls)}
            return _with_tuples(cls(**{name: value for name, value in values.items() if name in known}))
        except (TypeError, AttributeError, ValueError) as error:
            raise CardError(f"{source} does not say how its model embeds images ({error})") from error

    def changed(self, **values: Any) -> ModelCard:
        """A copy with other values."""
        return replace(self, **values)

    def differences(self, other: ModelCard) -> Mapping[str, tuple[Any, Any]]:
        """What of two cards is not the same, by attribute: for messages about models that do not go together."""
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        return {name: (own, their) for name, (own, their) in pairs.items() if own != their and name != "config"}


def _with_tuples(card: ModelCard) -> ModelCard:
    """JSON has lists only."""
    values = {field.name: getattr(card, field.name) for field in fields(card)}
    tuples: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return replace(card, **tuples)
