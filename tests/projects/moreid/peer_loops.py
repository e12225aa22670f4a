"""The losses that HE is compared with, as loops over queries and keys. Weights without a gradient are plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fastreid_ext.functional.keys import Keys, keys_of_ids

__all__ = ["SLOW", "Histogram", "embed", "slow_w_triplet", "some_keys"]


def embed(batch: int = 9, dim: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def some_keys(seed: int, queries: int = 8, keys: int = 13) -> tuple[Tensor, Keys]:
    """Queries and keys of a few identities; a third of the pairs are neither positive nor negative."""
    generator = torch.Generator().manual_seed(seed)
    query_ids, key_ids = (torch.randint(4, (n,), generator=generator) for n in (queries, keys))
    masks = torch.rand(2, queries, keys, generator=generator) < 2 / 3
    features = embed(keys, seed=seed + 100)
    return embed(queries, seed=seed), keys_of_ids(features, query_ids, key_ids, masks[0], masks[1])


def counted(keys: Keys) -> Iterator[tuple[int, list[int], list[int]]]:
    """Queries that have both, with their positives and negatives."""
    for query in range(len(keys.positive)):
        positives = [key for key in range(len(keys.pids)) if keys.positive[query, key]]
        negatives = [key for key in range(len(keys.pids)) if keys.negative[query, key]]
        if positives and negatives:
            yield query, positives, negatives


def mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean() if losses else torch.zeros((), dtype=torch.float64)


def slow_c_triplet(queries: Tensor, keys: Keys, margin: float) -> Tensor:
    x, y = normalize(queries), normalize(keys.features)
    losses = []
    for query, positives, negatives in counted(keys):
        own = normalize(torch.stack([y[key] for key in positives]).mean(0), dim=0)
        terms = []
        for pid in sorted({int(keys.pids[key]) for key in negatives}):
            members = [y[key] for key in range(len(y)) if keys.pids[key] == pid and bool(keys.negative[:, key].any())]
            agent = normalize(torch.stack(members).mean(0), dim=0)
            terms.append((margin + (x[query] - own).pow(2).sum() - (x[query] - agent).pow(2).sum()).clamp_min(0))
        losses.append(mean(terms))
    return mean(losses)


class Histogram:
    """Gaps seen so far, at evenly spaced points of [-2, 2]."""

    def __init__(self, bins: int, momentum: float) -> None:
        self.points = [-2 + 4 * i / (bins - 1) for i in range(bins)]
        self.momentum = momentum
        self.masses: list[float] = []

    def add(self, gaps: list[float]) -> None:
        width = self.points[1] - self.points[0]
        new = [sum(max(0.0, 1 - abs(gap - point) / width) for gap in gaps) / len(gaps) for point in self.points]
        keep = 1 - self.momentum
        self.masses = [keep * old + self.momentum * mass for old, mass in zip(self.masses or new, new, strict=True)]

    def below(self, gap: float) -> float:
        """How much lies up to the gap."""
        width = self.points[1] - self.points[0]
        reached = 0.0
        for point, mass in zip(self.points, self.masses, strict=True):
            reached += mass * min(1.0, max(0.0, 1 - (point - gap) / width))
        return reached


def slow_w_triplet(queries: Tensor, keys: Keys, histogram: Histogram) -> Tensor:
    x, y = normalize(queries), normalize(keys.features)
    gaps = []
    for query, positives, negatives in counted(keys):
        furthest = torch.stack([(x[query] - y[key]).norm() for key in positives]).max()
        nearest = torch.stack([(x[query] - y[key]).norm() for key in negatives]).min()
        gaps.append(furthest - nearest)
    if gaps:
        histogram.add([gap.item() for gap in gaps])
    return mean([histogram.below(gap.item()) * gap for gap in gaps])


def slow_n_pair(queries: Tensor, keys: Keys, count: int, norm_feat: bool, l2_weight: float) -> Tensor:
    x, y = (normalize(queries), normalize(keys.features)) if norm_feat else (queries, keys.features)
    losses = []
    for query, positives, negatives in counted(keys):
        hardest = min((x[query] @ y[key] for key in positives), key=Tensor.item)
        products = sorted((x[query] @ y[key] for key in negatives), key=Tensor.item, reverse=True)
        taken = products[:count] if count else products
        total = sum((torch.exp(product - hardest) for product in taken), torch.zeros(()))
        losses.append(torch.log(1 + total) + l2_weight * queries[query].pow(2).sum())
    return mean(losses)


def slow_ranked_list(queries: Tensor, keys: Keys, alpha: float, margin: float, temperature: float) -> Tensor:
    x, y = normalize(queries), normalize(keys.features)
    losses = []
    for query, positives, negatives in counted(keys):
        loss = torch.zeros((), dtype=torch.float64)
        far = [d for d in ((x[query] - y[key]).norm() for key in positives) if d > alpha - margin]
        near = [d for d in ((x[query] - y[key]).norm() for key in negatives) if d < alpha]
        for d in far:
            loss = loss + (d - (alpha - margin)) / len(far) / 2
        weights = [math.exp(temperature * (alpha - d.item())) for d in near]
        for d, weight in zip(near, weights, strict=True):
            loss = loss + weight / sum(weights) * (alpha - d) / 2
        losses.append(loss)
    return mean(losses)


def slow_info_nce(queries: Tensor, keys: Keys, temperature: float, form: str, count: int) -> Tensor:
    x, y = normalize(queries), normalize(keys.features)
    losses = []
    for query, positives, negatives in counted(keys):
        of_positives = [torch.exp(x[query] @ y[key] / temperature) for key in positives]
        of_negatives = sorted((torch.exp(x[query] @ y[key] / temperature) for key in negatives), key=Tensor.item)
        taken = of_negatives[-count:] if count else of_negatives
        ratios = [one / torch.stack(of_positives + taken).sum() for one in of_positives]
        if form == "single":
            losses.append(-torch.log(min(ratios, key=Tensor.item)))
        elif form == "in":
            losses.append(-torch.log(torch.stack(ratios).sum()))
        else:
            losses.append(torch.stack([-torch.log(ratio) for ratio in ratios]).sum())
    return mean(losses)


SLOW: dict[str, Callable[[Tensor, Keys], Tensor]] = {
    "c_triplet": lambda q, k: slow_c_triplet(q, k, 0.8),
    "w_triplet": lambda q, k: slow_w_triplet(q, k, Histogram(512, 0.01)),
    "w_triplet few bins": lambda q, k: slow_w_triplet(q, k, Histogram(7, 0.3)),
    "n_pair": lambda q, k: slow_n_pair(q, k, 2, False, 0.0),
    "n_pair 15": lambda q, k: slow_n_pair(q, k, 15, False, 0.0),
    "n_pair all, normalised": lambda q, k: slow_n_pair(q, k, 0, True, 0.3),
    "ranked_list": lambda q, k: slow_ranked_list(q, k, 1.2, 0.4, 10.0),
    "ranked_list even": lambda q, k: slow_ranked_list(q, k, 1.4, 1.0, 0.0),
    "info_nce single": lambda q, k: slow_info_nce(q, k, 0.07, "single", 0),
    "info_nce in": lambda q, k: slow_info_nce(q, k, 0.07, "in", 0),
    "info_nce out": lambda q, k: slow_info_nce(q, k, 0.07, "out", 0),
    "info_nce single, mined": lambda q, k: slow_info_nce(q, k, 0.5, "single", 2),
    "info_nce in, mined": lambda q, k: slow_info_nce(q, k, 0.5, "in", 2),
    "info_nce out, mined": lambda q, k: slow_info_nce(q, k, 0.5, "out", 2),
}
