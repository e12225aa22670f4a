"""Trained models in use: images of any kind in, embeddings, similarities and verdicts out."""

from fastreid_ext.inference.card import CardError, ModelCard
from fastreid_ext.inference.embedder import Embedder

__all__ = ["CardError", "Embedder", "ModelCard"]
