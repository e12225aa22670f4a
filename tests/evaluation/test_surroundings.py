"""Evaluation gives the same figures whatever modes, types and threads it is called in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation import average_query_expansion, k_reciprocal_rerank, rank_metrics, roc_curve
from fastreid_ext.evaluation import blocks as blocks_module
from fastreid_ext.evaluation import neighbours as neighbours_module
from fastreid_ext.evaluation.blocks import map_blocks
from fastreid_ext.evaluation.rank_inputs import read_distances

QUERIES = 40


@pytest.fixture(autouse=True)
def many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "_TILE", 32)
    monkeypatch.setattr(blocks_module, "_LARGEST", 16)


def draw() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pids = torch.arange(300) % 20
    return torch.randn(20, 24, generator=generator)[pids] * 5 + 9 * torch.randn(300, 24, generator=generator), pids


def everything(query: Any, gallery: Any, pids: Tensor) -> dict[str, Tensor]:
    labels = (pids[:QUERIES], pids[QUERIES:], [0] * QUERIES, [1] * (300 - QUERIES))
    results = {}
    for metric in ("cosine", "euclidean"):
        ranks = rank_metrics(query, gallery, *labels, metric=metric)  # type: ignore[arg-type]
        results[f"{metric} ap"], results[f"{metric} cmc"] = ranks.ap, ranks.cmc
        for exact in (True, False):
            curve = roc_curve(query, gallery, *labels, metric=metric, exact=exact)  # type: ignore[arg-type]
            rates = [curve.tpr_at(fpr) for fpr in (0.001, 0.01, 0.1)]
            results[f"{metric} tpr {exact}"] = torch.tensor(rates, dtype=torch.float64)
        for variant in ("paper", "released", "fastreid"):
            distances = k_reciprocal_rerank(query, gallery, metric=metric, variant=variant)  # type: ignore[arg-type]
            results[f"{metric} {variant}"] = distances
    results["query"], results["gallery"] = average_query_expansion(query, gallery)
    return results


@contextmanager
def default_type() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def medium() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
        assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference mode": torch.inference_mode,
    "bfloat16 autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float16 autocast": lambda: torch.autocast("cpu", torch.float16),
    "float64 by default": default_type,
    "medium precision": medium,
    "one thread": lambda: threads(1),
    "five threads": lambda: threads(5),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_change_nothing(mode: str) -> None:
    features, pids = draw()
    with threads(3):
        expected = everything(features[:QUERIES], features[QUERIES:], pids)
        with MODES[mode]():
            found = everything(features[:QUERIES], features[QUERIES:], pids)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.clone().requires_grad_(),
        lambda x: x.T.contiguous().T,
        lambda x: torch.stack([x, x], dim=2)[..., 0],
        lambda x: x.numpy(),
        lambda x: x.numpy()[:, ::-1][:, ::-1],
        lambda x: np.ascontiguousarray(x.numpy()[::-1])[::-1],
        lambda x: x.numpy().astype(">f4"),
    ],
    ids=["gradient", "transposed", "strided", "NumPy", "views", "negative strides", "big-endian"],
)
def test_forms_of_features(change: Callable[[Tensor], Any]) -> None:
    features, pids = draw()
    before = features.clone()
    expected = everything(features[:QUERIES], features[QUERIES:], pids)
    found = everything(change(features[:QUERIES]), change(features[QUERIES:]), pids)
    assert torch.equal(features, before)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


def test_blocks_of_any_size_give_the_same_bits() -> None:
    features, pids = draw()
    labels = (pids[:QUERIES], pids[QUERIES:], [0] * QUERIES, [1] * (300 - QUERIES))
    distances = torch.cdist(features[:QUERIES], features[QUERIES:])
    whole = rank_metrics(None, None, *labels, distances=distances, block_size=QUERIES)
    for size in (1, 7, 16):
        parts = rank_metrics(None, None, *labels, distances=distances, block_size=size)
        assert torch.equal(parts.ap, whole.ap) and torch.equal(parts.ap_at_r, whole.ap_at_r)


def test_a_junk_query_costs_no_more_than_others() -> None:
    features, pids = draw()
    pids[3], pids[100:] = -1, -1
    source = read_distances(features[:QUERIES], features[QUERIES:], None, "cosine")
    assert source.shape == (QUERIES, 260)
    ranks = rank_metrics(
        features[:QUERIES], features[QUERIES:], pids[:QUERIES], pids[QUERIES:], protocol=Protocol(camera_rule=False)
    )
    assert ranks.ap[3].isnan() and ranks.num_invalid == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_what_a_block_raises_arrives(error: type[BaseException]) -> None:
    features, _ = draw()
    source = read_distances(features, features, None, "cosine")

    def fail(block: slice, distances: Tensor) -> None:
        if block.start >= 64:
            raise error

    with threads(3):
        with pytest.raises(error):
            map_blocks(fail, source)
        starts = map_blocks(lambda block, distances: block.start, source)
    assert starts == sorted(set(starts)) and starts[0] == 0 and len(starts) > 3


@pytest.mark.parametrize(
    ("queries", "workers", "largest", "size"),
    [(3368, 2, 512, 421), (3368, 1, 512, 482), (1000, 2, 512, 500), (100, 64, 512, 16), (5, 4, 2, 2), (0, 2, 512, 16)],
)
def test_workers_get_even_blocks(queries: int, workers: int, largest: int, size: int) -> None:
    assert blocks_module._even(queries, workers, largest) == size
