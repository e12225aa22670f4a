"""The nearest neighbours of each image among all images, by an index."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.evaluation.neighbours import Neighbours
from fastreid_ext.functional.distances import Metric
from fastreid_ext.index import ExactIndex, Kind, build_index
from fastreid_ext.utils.dist import each_rank_its_rows, get_world_size

__all__ = ["indexed_neighbours"]

# Of an index by itself 0.95 is usual; here its errors add up over two steps of neighbours.
_RECALL = 0.98
_QUERIES = 4096


@torch.inference_mode(False)
@torch.no_grad()
def indexed_neighbours(
    features: Tensor, k: int, kind: Kind, *, metric: Metric = "cosine", shard: bool = False
) -> Neighbours:
    """As `nearest_neighbours`, but as far as an index finds them, in float32, and without the farthest.

    Images for which the index finds fewer than k are compared with all others.

    Args:
        features: of the images, finite.
        k: neighbours, the image itself among them.
        kind: of index.
        metric: of the distances.
        shard: every process of the run calls this with the same arguments, searches for its share of the images, and
            returns the neighbours of all.

    Shape:
        features: (N, D).

    Raises:
        ImportError: faiss is not installed, and the kind is not "flat".
        ValueError: k is not between 1 and N.
    """
    number = len(features)
    if not 1 <= k <= number:
        raise ValueError(f"k must be between 1 and the number of images, {number}; got {k}.")
    vectors = features.cpu()
    index = build_index(vectors, kind=kind, metric=metric, recall=_RECALL)

    exact = ExactIndex(vectors, metric)

    def search(own: slice) -> tuple[Tensor, Tensor]:
        found = []
        for start in range(own.start, own.stop, _QUERIES):
            queries = vectors[start : min(start + _QUERIES, own.stop)]
            distances, ids = index.search(queries, k)
            short = (ids < 0).any(1)
            distances[short], ids[short] = exact.search(queries[short], k)
            found.append(_own_first(distances, ids, start))
        distances, ids = (torch.cat(parts) for parts in zip(*found, strict=True))
        return distances, ids

    found = each_rank_its_rows(search, number) if shard and get_world_size() > 1 else search(slice(0, number))
    distances, indices = (part.to(features.device) for part in found)
    return Neighbours(distances, indices, None)


def _own_first(distances: Tensor, ids: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Neighbours of the images from `start` on, the image itself first at distance 0."""
    own = torch.arange(start, start + len(ids))[:, None]
    # Before its copies, wherever rounding puts it; where it was not found, the last neighbour goes.
    places = distances.masked_fill(ids == own, torch.inf).argsort(dim=1, stable=True)[:, :-1]
    nearest = torch.cat([torch.zeros_like(distances[:, :1]), distances.gather(1, places)], dim=1)
    return nearest, torch.cat([own, ids.gather(1, places)], dim=1)
