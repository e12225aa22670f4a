"""Heads: from a backbone's maps to embeddings and logits."""

from fastreid_ext.modeling.heads.clas_head import ClasHead
from fastreid_ext.modeling.heads.classifier import class_outputs, class_weight, classify
from fastreid_ext.modeling.heads.embedding_head import EmbeddingHead
from fastreid_ext.modeling.heads.features import (
    HasClassifier,
    feature_widths,
    features_by_branch,
    without_classifier,
)
from fastreid_ext.modeling.heads.registry import HEADS, build_heads

__all__ = [
    "HEADS",
    "ClasHead",
    "EmbeddingHead",
    "HasClassifier",
    "build_heads",
    "class_outputs",
    "class_weight",
    "classify",
    "feature_widths",
    "features_by_branch",
    "without_classifier",
]
