"""What exported files of all formats have in common."""

from __future__ import annotations

from fastreid_ext.data.transforms import Normalize, Pipeline
from fastreid_ext.inference.card import CardError, ModelCard

__all__ = ["CARD_KEY", "exported_card", "preparation"]

CARD_KEY = "fastreid_ext"
"""Under which the metadata of a file hold the JSON of its model's card."""


def exported_card(text: str | None, source: str) -> ModelCard:
    """The card from the metadata of a file.

    Raises:
        CardError: there is none, or it cannot be read.
    """
    if not text:
        raise CardError(f"{source} does not say how its model embeds images: tools/export.py writes files that do")
    return ModelCard.from_json(text, source=source)


def preparation(card: ModelCard) -> Pipeline:
    """The crop and normalisation that come before a model which has them not inside."""
    return Pipeline(Normalize(card.pixel_mean, card.pixel_std), centre_crop=card.crop)
