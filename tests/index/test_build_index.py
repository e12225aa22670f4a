"""Approximate indices: what they find, keep, and refuse."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import pytest
import torch
from index_data import draw

from fastreid_ext.functional.distances import Metric
from fastreid_ext.index import ExactIndex, Index, IndexFileError, Kind, build_index, load_index, rows
from fastreid_ext.index.faiss_index import FaissIndex
from fastreid_ext.index.kinds import choose_kind, lists_for
from fastreid_ext.index.refined import RefinedIndex
from fastreid_ext.index.tuning import recall_at, tune

VECTORS, QUERIES = draw(1500), draw(80, seed=1)


def recall(index: Index, queries: torch.Tensor = QUERIES, vectors: torch.Tensor = VECTORS) -> float:
    return recall_at(index.search(queries, 10), ExactIndex(vectors, index.metric).search(queries, 10))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["ivf", "hnsw", "ivfpq"])
def test_finds_keeps_and_grows(kind: Kind, metric: Metric, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        index = build_index(VECTORS, kind=kind, metric=metric, recall=0.9, threads=1)
    assert index.recall is not None and index.recall >= 0.9 and f"recall@10 {index.recall:.3f}" in caplog.text
    assert (index.kind, index.metric, index.dim, len(index)) == (kind, metric, 32, 1500)
    assert recall(index) > 0.8
    ids = index.search(VECTORS[:50], 1)[1]
    assert (ids.flatten() == torch.arange(50)).float().mean() > 0.9
    distances, ids = index.search(QUERIES, 3)
    queries = torch.nn.functional.normalize(QUERIES) if metric == "cosine" else QUERIES
    expected = ExactIndex(VECTORS, metric).distances(queries.numpy(), ids.numpy())
    torch.testing.assert_close(distances.numpy(), expected, atol=1e-5, rtol=1e-4)

    index.save(tmp_path / "i.faiss")
    width = index.width if isinstance(index, RefinedIndex) else 8
    for mmap in (True, False):
        again = load_index(tmp_path / "i.faiss", mmap=mmap, vectors=VECTORS, width=width, threads=1)
        assert (again.kind, again.metric, len(again)) == (kind, metric, 1500)
        assert torch.equal(again.search(QUERIES, 10)[1], index.search(QUERIES, 10)[1])
    again.add(QUERIES)
    assert (again.search(QUERIES, 1)[1].flatten() == torch.arange(1500, 1580)).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "ivfpq"])
def test_the_seed_gives_the_same_index(kind: Kind, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build_index(VECTORS, kind=kind, recall=0.9, seed=seed, threads=1).save(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b and a != c


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_lists_that_hold_fewer_than_k_are_not_the_end(kind: Kind) -> None:
    index = build_index(VECTORS, kind=kind, recall=0.1)
    codes = index.codes if isinstance(index, RefinedIndex) else index
    assert isinstance(codes, FaissIndex)
    codes.effort = 1
    few = index.search(QUERIES[:9], 3)[1]
    for k in (400, 1500):
        distances, ids = index.search(QUERIES[:9], k)
        assert all(len(set(row)) == k and min(row) >= 0 for row in ids.tolist())
        assert distances.diff(dim=1).ge(0).all() and distances.isfinite().all()
    assert codes.effort == 1 and torch.equal(index.search(QUERIES[:9], 3)[1], few)
    assert (index.search(QUERIES[:9], 1501)[1] < 0).sum(1).eq(1).all()


def test_beside_packages_that_change_faiss() -> None:
    # pytorch-metric-learning imports it, and it replaces the methods of all indices.
    importlib.import_module("faiss.contrib.torch_utils")
    index = build_index(VECTORS, kind="ivf", recall=0.5)
    assert index.search(QUERIES, 1400)[1].min() >= 0
    index.add(QUERIES)
    assert len(index) == 1580


def test_codes_are_smaller_and_vectors_put_them_right() -> None:
    refined = build_index(VECTORS, kind="ivfpq", recall=0.95)
    assert isinstance(refined, RefinedIndex)
    # 4 bytes of code, 8 of the id, and the centroids.
    assert refined.bytes_per_vector == 4 + 8 + 32 * 128 / 1500 < 32 * 4
    assert recall(refined) > recall(refined.codes) + 0.1


def test_more_recall_takes_more_effort() -> None:
    low, high = (build_index(VECTORS, kind="ivf", recall=share) for share in (0.3, 0.99))
    assert isinstance(low, FaissIndex) and isinstance(high, FaissIndex)
    assert low.effort < high.effort <= high.most_effort and recall(low) < recall(high)


def test_what_cannot_be_reached_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastreid_ext.index.tuning._MOST_CANDIDATES", 10)
    noise = torch.randn(1500, 64, generator=torch.Generator().manual_seed(0))
    index = build_index(noise, kind="hnsw", recall=1.0)
    assert index.recall is not None and index.recall < 1
    assert f"recall@10 {index.recall:.3f} is below 1.0" in caplog.text


def test_held_out_queries_are_strangers_until_the_recall_is_known() -> None:
    # With queries from the index itself, a graph of noise seems far better than it is.
    generator = torch.Generator().manual_seed(0)
    noise, strangers = torch.randn(3000, 64, generator=generator), torch.randn(200, 64, generator=generator)
    index = build_index(noise, kind="ivf", recall=0.6)
    assert index.recall is not None and abs(index.recall - recall(index, strangers, noise)) < 0.08
    ids = index.search(noise, 1)[1].flatten()
    assert torch.equal(ids, torch.arange(3000))


@pytest.mark.parametrize("number", [2, 3, 41])
@pytest.mark.parametrize("kind", ["ivf", "hnsw", "ivfpq"])
def test_few_vectors(kind: Kind, number: int) -> None:
    vectors = draw(number)
    if kind == "ivfpq":
        with pytest.raises(ValueError, match=f"300 vectors or more; there are {number}: take flat"):
            build_index(vectors, kind=kind)
        return
    distances, ids = build_index(vectors, kind=kind).search(vectors, 5)
    assert ids[:, 0].tolist() == list(range(number))
    assert ((ids < 0) == distances.isinf()).all()


def test_auto_goes_by_size() -> None:
    assert [choose_kind(number, 512) for number in (0, 50_000, 50_001, 4_000_001)] == ["flat", "flat", "ivf", "ivfpq"]
    # 127 dimensions cannot be cut into equal codes.
    assert choose_kind(10_000_000, 127) == "ivf"
    assert [lists_for(number) for number in (1, 1000, 1_000_000, 10**9)] == [1, 16, 2048, 65_536]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown index 'tree': choose one of auto, flat, ivf"):
        build_index(VECTORS, kind="tree")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="recall is a share"):
        build_index(VECTORS, recall=0)
    with pytest.raises(ValueError, match="2 vectors or more; there are 1: take flat"):
        build_index(VECTORS[:1], kind="ivf")
    with pytest.raises(ValueError, match="127 dimensions cannot be cut"):
        build_index(draw(300, dim=127), kind="ivfpq")


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_what_is_mapped_takes_no_vectors(kind: Kind, tmp_path: Path) -> None:
    build_index(VECTORS[:200], kind=kind).save(tmp_path / "i")
    index = load_index(tmp_path / "i", mmap=True)
    with pytest.raises(ValueError, match="memory-mapped and takes no vectors: load it with mmap=False"):
        index.add(QUERIES)
    assert len(index) == 200


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "ivfpq"])
def test_a_file_cut_short_is_refused(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "i.faiss"
    build_index(VECTORS[:600], kind=kind, recall=0.5).save(path)
    whole = path.read_bytes()
    for size in (0, 3, 100, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:size])
        for mmap in (False, True):
            with pytest.raises(IndexFileError, match=r"i\.faiss is no file of an index, or cut short"):
                load_index(path, mmap=mmap)
    with pytest.raises(IndexFileError, match="no index file"):
        load_index(tmp_path / "missing")


def test_vectors_of_other_images_are_refused(tmp_path: Path) -> None:
    build_index(VECTORS[:600], kind="ivfpq", recall=0.5).save(tmp_path / "i")
    with pytest.raises(IndexFileError, match="of 600 vectors, not of these 1,500"):
        load_index(tmp_path / "i", vectors=VECTORS)


def test_without_faiss_only_flat_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert build_index(VECTORS[:10]).search(QUERIES, 2)[1].shape == (80, 2)
    with pytest.raises(ImportError, match=r"fastreid_ext\[cpu\]"):
        build_index(VECTORS, kind="ivf")


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_all_vectors_are_looked_at_before_one_is_added(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    index = build_index(VECTORS, kind=kind)
    monkeypatch.setattr(rows, "_BLOCK_BYTES", 32 * 4)
    spoilt = QUERIES.clone()
    spoilt[-1, 3] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or Inf in 1 row.* 79"):
        index.add(spoilt)
    assert len(index) == 1500


@pytest.mark.parametrize("target", [0.5, 0.8, 0.95])
def test_the_recall_that_is_told_is_that_of_the_effort_that_is_kept(target: float) -> None:
    index = build_index(VECTORS, kind="ivf")
    assert isinstance(index, FaissIndex)
    truth = ExactIndex(VECTORS).search(QUERIES, 10)
    told = tune(index, QUERIES.numpy(), truth, target)
    assert told == recall_at(index.search(QUERIES, 10), truth) >= target
    index.effort = max(1, index.effort // 2)
    assert index.effort == 1 or recall_at(index.search(QUERIES, 10), truth) < target


def test_of_equal_vectors_any_is_a_neighbour() -> None:
    vectors = VECTORS[:100].repeat(12, 1)
    index = build_index(vectors, kind="ivf", recall=0.9)
    assert index.recall is not None and index.recall >= 0.9
    assert isinstance(index, FaissIndex) and index.effort < index.most_effort
