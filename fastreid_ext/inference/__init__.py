"""Trained models in use: images of any kind in, embeddings, similarities and verdicts out."""

from fastreid_ext.inference.calibration import calibrate
from fastreid_ext.inference.card import CardError, ModelCard
from fastreid_ext.inference.checkpoint_embedder import CheckpointEmbedder
from fastreid_ext.inference.embedder import Embedder
from fastreid_ext.inference.features import features_of
from fastreid_ext.inference.images import images_in
from fastreid_ext.inference.open import open_embedder
from fastreid_ext.inference.predictor import Embedded, Predictor
from fastreid_ext.inference.threshold import Threshold, ThresholdError, Verdict

__all__ = [
    "CardError",
    "CheckpointEmbedder",
    "Embedded",
    "Embedder",
    "ModelCard",
    "Predictor",
    "Threshold",
    "ThresholdError",
    "Verdict",
    "calibrate",
    "features_of",
    "images_in",
    "open_embedder",
]
