"""Whether a model may be used with a gallery."""

from __future__ import annotations

from pathlib import Path

from fastreid_ext.gallery.errors import GalleryError
from fastreid_ext.inference import ModelCard

__all__ = ["check_model"]


def check_model(folder: Path, own: ModelCard, card: ModelCard) -> None:
    """Refuses a model other than that of a gallery, or one that compares embeddings otherwise.

    Args:
        folder: of the gallery.
        own: card of its model.
        card: of the model in question.

    Raises:
        GalleryError: says what is different.
    """
    if card.fingerprint != own.fingerprint:
        others = own.differences(card)
        listed = "; ".join(
            f"{name} {ours} and {theirs}" for name, (ours, theirs) in others.items() if name != "fingerprint"
        )
        raise GalleryError(
            f"{folder.absolute()} has embeddings of the model {own.fingerprint}, and this one is {card.fingerprint}: "
            f"distances between the two mean nothing{f' ({listed})' if listed else ''}. "
            "Take the gallery's model, or build a gallery with this one"
        )
    if (card.metric, card.beta) != (own.metric, own.beta):
        raise GalleryError(
            f"{folder.absolute()} holds vectors for TEST.METRIC {own.metric} and TEST.BETA_NORM.BETA {own.beta}; this "
            f"model's options say {card.metric} and {card.beta}"
        )
