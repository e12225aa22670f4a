"""The exact search against a sort of all distances."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from index_data import by_sorting, draw, on_a_grid

from fastreid_ext.functional.distances import Metric
from fastreid_ext.index import ExactIndex, build_index, load_index
from fastreid_ext.index import rows as rows_module


@pytest.mark.parametrize("block", [1, 100, 2**26])
@pytest.mark.parametrize("k", [1, 7, 90])
def test_ties_come_in_the_order_of_ids(block: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_BLOCK_BYTES", block)
    vectors, queries = on_a_grid(90), on_a_grid(11, seed=1)
    distances, ids = ExactIndex(vectors, "euclidean").search(queries, k)
    expected = by_sorting(queries, vectors, k, "euclidean")
    assert torch.equal(ids, expected[1]) and torch.equal(distances, expected[0])
    assert distances.dtype == torch.float32 and ids.dtype == torch.int64


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_distances_are_those_of_the_evaluation(metric: Metric, dtype: torch.dtype) -> None:
    vectors, queries = draw(300).to(dtype), draw(300, seed=1)
    distances, ids = ExactIndex(vectors, metric).search(queries, 5)
    expected = by_sorting(queries, vectors.float(), 5, metric)
    torch.testing.assert_close(distances, expected[0], rtol=1e-5, atol=2e-6)
    assert (ids == expected[1]).float().mean() > 0.999


def test_parts_are_searched_as_one() -> None:
    vectors, queries = on_a_grid(50), on_a_grid(4, seed=1)
    index = ExactIndex(vectors[:20], "euclidean")
    index.add(vectors[20:20])
    index.add(vectors[20:])
    assert len(index) == 50
    assert torch.equal(index.search(queries, 9)[1], by_sorting(queries, vectors, 9, "euclidean")[1])
    wanted = torch.tensor([[49, 3, -1], [20, 19, 0]])
    expected = by_sorting(queries[:2], vectors, 50, "euclidean")
    for row, ids in enumerate(wanted.tolist()):
        near = dict(zip(expected[1][row].tolist(), expected[0][row].tolist(), strict=True))
        assert index.distances(queries[:2].numpy(), wanted.numpy())[row].tolist() == [
            near.get(i, float("inf")) for i in ids
        ]


def test_fewer_than_k_are_filled_up() -> None:
    distances, ids = ExactIndex(draw(2)).search(draw(3, seed=1), 4)
    assert (ids[:, 2:] == -1).all() and distances[:, 2:].isinf().all() and (ids[:, :2] >= 0).all()
    distances, ids = ExactIndex(draw(0)).search(draw(3), 2)
    assert (ids == -1).all() and distances.isinf().all()
    assert ExactIndex(draw(5)).search(draw(0), 2)[1].shape == (0, 2)


def test_a_row_without_direction_is_at_distance_one() -> None:
    distances, ids = ExactIndex(torch.tensor([[0.0, 0.0], [1.0, 0.0]])).search(torch.tensor([[2.0, 0.0]]), 2)
    assert distances.tolist() == [[0.0, 1.0]] and ids.tolist() == [[1, 0]]


def test_a_mapped_file_is_searched_where_it_is(tmp_path: Path) -> None:
    vectors = draw(500)
    np.save(tmp_path / "v.npy", vectors.half().numpy())
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = build_index(mapped)
        distances, ids = index.search(vectors[:20].numpy(), 1)
    assert index.kind == "flat" and index.recall is None and index.bytes_per_vector == 32 * 2 + 4
    assert ids.flatten().tolist() == list(range(20)) and (distances < 1e-5).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_holds_it(metric: Metric, mmap: bool, tmp_path: Path) -> None:
    vectors, queries = draw(200), draw(9, seed=1)
    index = build_index(vectors, kind="flat", metric=metric)
    index.save(tmp_path / "flat.faiss")
    again = load_index(tmp_path / "flat.faiss", mmap=mmap)
    assert (again.kind, again.metric, len(again)) == ("flat", metric, 200)
    assert torch.equal(again.search(queries, 3)[1], index.search(queries, 3)[1])
    again.add(queries)
    assert again.search(queries, 1)[1].flatten().tolist() == list(range(200, 209))


def test_bad_input_is_refused() -> None:
    index = ExactIndex(draw(20))
    with pytest.raises(ValueError, match="32 dimensions; got some of 8"):
        index.search(draw(2, dim=8), 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search(draw(2), 0)
    with pytest.raises(ValueError, match="must be a matrix"):
        ExactIndex(torch.zeros(4))
    broken = draw(20)
    broken[7, 3] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or Inf in 1 row.*the first of which is 7"):
        index.add(broken)
    assert len(index) == 20
    with pytest.raises(ValueError, match="unknown metric"):
        ExactIndex(draw(3), "manhattan")  # type: ignore[arg-type]
