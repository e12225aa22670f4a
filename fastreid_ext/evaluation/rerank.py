"""Re-ranking with k-reciprocal neighbours, without a matrix of all images by all images."""

from __future__ import annotations

from typing import Any, Literal

import torch
from scipy import sparse
from torch import Tensor

from fastreid_ext.evaluation.blocks import map_blocks
from fastreid_ext.evaluation.indexed_neighbours import indexed_neighbours
from fastreid_ext.evaluation.neighbours import nearest_neighbours
from fastreid_ext.evaluation.rank_inputs import DistanceSource, Features, read_features
from fastreid_ext.evaluation.reciprocal import ReciprocalRule, RerankVariant, encode
from fastreid_ext.evaluation.rerank_kernels import mix_jaccard
from fastreid_ext.functional.distance_rows import DistanceRows
from fastreid_ext.functional.distances import Metric
from fastreid_ext.functional.precision import wide_type, widen
from fastreid_ext.index import Kind

__all__ = ["k_reciprocal_rerank", "reranked_distances"]


@torch.inference_mode(False)
@torch.no_grad()
def k_reciprocal_rerank(
    query_features: Features,
    gallery_features: Features | None = None,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: Metric = "cosine",
    variant: RerankVariant = "paper",
    index: Kind | Literal[""] = "",
) -> Tensor:
    """Distances that also count how much two images' neighbourhoods have in common.

    An image is encoded by the weights of its k-reciprocal neighbours among all images, queries and gallery: those
    among its k1 nearest which have it among theirs, and the k1/2-reciprocal neighbours of these where they overlap
    enough; then averaged over its k2 nearest images, itself included. The result is
    (1 - lambda) * Jaccard distance of the encodings + lambda * distance.

    Only the result is a full matrix; `reranked_distances` gives the same row by row.

    Args:
        query_features: of the queries.
        gallery_features: of the gallery; None where the queries are the gallery, each image once.
        k1: size of the neighbourhoods, the image itself not counted.
        k2: images that an encoding is averaged over; 1 for no average.
        lambda_value: share of the distance before.
        metric: of that distance; "euclidean" is squared, as everywhere in ranking. Features that are not of unit length
            may be so far apart then that "paper" and "fastreid" give all weight to the image itself: take "released".
        variant: "paper" takes the formulas as printed: weights exp(-distance). "released" is what its authors' code
            does: distances are divided by that to the farthest of all images, weights of an image sum to one, and an
            overlap of exactly two thirds is not enough. "fastreid" counts the image itself among its k1 neighbours,
            weighs by the softmax of negative squared distances (of unit vectors, for "cosine"), and shares the last.
        index: kind of index that finds the neighbours of each image, of which an approximate one misses a few; "" for
            the exact search that this module has of its own. Not for "released", which needs the farthest image.

    Shape:
        query_features: (Q, D). gallery_features: (G, D). Result: (Q, G), float32, or float64 for such features.

    Raises:
        ValueError: features are empty, ill-fitting or not finite, or a number is out of range.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, equations 3, 4,
    7, 10, 11 and 12.
    """
    source = reranked_distances(
        query_features,
        gallery_features,
        k1=k1,
        k2=k2,
        lambda_value=lambda_value,
        metric=metric,
        variant=variant,
        index=index,
    )
    result = torch.empty(source.shape, dtype=source.dtype, device=source.device)

    def keep(queries: slice, block: Tensor) -> None:
        result[queries] = block

    map_blocks(keep, source)
    return result


@torch.inference_mode(False)
@torch.no_grad()
def reranked_distances(
    query_features: Features,
    gallery_features: Features | None = None,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: Metric = "cosine",
    variant: RerankVariant = "paper",
    index: Kind | Literal[""] = "",
    shard: bool = False,
) -> DistanceSource:
    """`k_reciprocal_rerank` as rows on demand, which `rank_metrics` and `roc_curve` take as `distances`.

    With `shard` the processes of the run share the search for neighbours; all call this with the same arguments.
    """
    query, gallery = read_features(query_features, query_features if gallery_features is None else gallery_features)
    features = widen(query if gallery_features is None else torch.cat([query, gallery])).contiguous()
    rule = ReciprocalRule(k1, k2, variant)
    rule.check(len(features), len(gallery))
    if not 0 <= lambda_value <= 1:
        raise ValueError(f"lambda_value must be between 0 and 1; got {lambda_value}.")
    if index and variant == "released":
        raise ValueError("variant released needs the distance to the farthest image, which no index finds: index=''.")
    neighbours = (
        indexed_neighbours(features, rule.searched, index, metric=metric, shard=shard)
        if index
        else nearest_neighbours(features, rule.searched, metric=metric, shard=shard)
    )
    encodings = encode(features, neighbours, metric, rule)
    scale = None
    if variant == "released" and neighbours.farthest is not None:
        scale = neighbours.farthest.clamp_min(torch.finfo(features.dtype).tiny)
    del features
    return _mixed(DistanceRows(query, gallery, metric), scale, encodings, lambda_value)


def _mixed(direct: DistanceRows, scale: Tensor | None, encodings: Any, share: float) -> DistanceSource:
    holders = sparse.csc_array(encodings[encodings.shape[0] - direct.shape[1] :])
    arrays = (
        encodings.sum(axis=1),
        *(encodings.indptr, encodings.indices, encodings.data),
        *(holders.indptr, holders.indices, holders.data),
    )

    def rows(block: slice, out: Tensor) -> Tensor:
        direct.rows(block, out)
        if scale is not None:
            out.div_(scale[block, None])
        mixed = out.cpu()
        mix_jaccard(mixed.numpy(), block.start, share, *arrays)
        return out if mixed is out else out.copy_(mixed)

    return DistanceSource(direct.shape, wide_type(direct.gallery.dtype), direct.gallery.device, rows)
