"""Features averaged over their nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from fastreid_ext.evaluation.neighbours import nearest_neighbours
from fastreid_ext.evaluation.rank_inputs import Features, read_features
from fastreid_ext.functional.precision import widen

__all__ = ["average_query_expansion"]


@torch.inference_mode(False)
@torch.no_grad()
def average_query_expansion(
    query_features: Features,
    gallery_features: Features | None = None,
    *,
    k: int = 5,
    alpha: float = 3.0,
    times: int = 1,
    shard: bool = False,
) -> tuple[Tensor, Tensor]:
    """Replaces each feature, of queries and gallery, by a weighted mean over its k nearest among all of them.

    A neighbour's weight is its cosine similarity, not below zero, to the power of alpha: with alpha 0 this is average
    query expansion, else alpha-weighted. Features are averaged as they are: normalise them before, for a mean of
    directions.

    Args:
        query_features: of the queries.
        gallery_features: of the gallery; None where the queries are the gallery, each image once.
        k: neighbours, the feature itself among them.
        alpha: how fast weights fall with the similarity.
        times: how often, each time from the features of the time before.
        shard: every process of the run calls this with the same arguments, and they share the search.

    Shape:
        query_features: (Q, D). gallery_features: (G, D). Result: (Q, D) and (G, D), float32, or float64 as given.

    Raises:
        ValueError: features are empty, ill-fitting or not finite, or a number is out of range.

    Source: Chum et al., "Total Recall: Automatic Query Expansion with a Generative Feature Model for Object Retrieval",
    ICCV 2007; Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019 (alpha).
    """
    query, gallery = read_features(query_features, query_features if gallery_features is None else gallery_features)
    features = widen(query if gallery_features is None else torch.cat([query, gallery]))
    if not 1 <= k <= len(features):
        raise ValueError(f"k must be between 1 and the number of images, {len(features)}; got {k}.")
    if not 0 <= alpha < torch.inf or times < 1:
        raise ValueError(f"alpha must be a number not below 0, and times at least 1; got {alpha} and {times}.")
    for _ in range(times):
        nearest = nearest_neighbours(features, k, shard=shard)
        weights = (1 - nearest.distances).clamp_min(0) ** alpha / k
        features = embedding_bag(nearest.indices, features, per_sample_weights=weights, mode="sum")
    return features[: len(query)], features[len(features) - len(gallery) :]
