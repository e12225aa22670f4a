"""`FloatHistogram` against bins made one number at a time."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from fastreid_ext.evaluation.float_histogram import FloatHistogram, bins_of

CPU = torch.device("cpu")
NUMBERS = [-3e38, -2.0, -1e-6, -1e-42, -0.0, 0.0, 1e-42, 1e-6, 0.3, 0.30001, 1.0, 1.5, 2.0, 4096.0, 3e38]


def levels_of(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    histogram = FloatHistogram(CPU)
    histogram.add(values)
    return histogram.levels()


def test_bins_rise_with_the_numbers() -> None:
    bins = bins_of(torch.tensor(NUMBERS)).tolist()
    assert bins == sorted(bins)
    assert bins[NUMBERS.index(0.3)] < bins[NUMBERS.index(0.30001) + 1]
    assert bins_of(torch.tensor([-0.0])).equal(bins_of(torch.tensor([0.0])))


def test_numbers_lie_in_their_bins() -> None:
    random = np.random.default_rng(0)
    values = torch.from_numpy((random.normal(size=2000) * 10.0 ** random.integers(-5, 6, 2000)).astype(np.float32))
    edges, counts = levels_of(values)
    assert int(counts.sum()) == len(values)
    place = torch.searchsorted(edges, values)
    assert place.bincount(minlength=len(edges)).equal(counts)
    width = (edges[place] - values).abs() / values.abs()
    assert float(width.max()) < 2**-15


def test_compiled_loop_counts_as_tensor_operations_do() -> None:
    values = torch.cat([torch.tensor(NUMBERS), torch.randn(1000, generator=torch.Generator().manual_seed(0))])
    _, counts = levels_of(values)
    assert counts.tolist() == np.unique(bins_of(values), return_counts=True)[1].tolist()


def test_no_form_of_nan_is_counted() -> None:
    forms = torch.tensor([0x7FC00000, 0x7F800001, -0x00400000, -1], dtype=torch.int32).view(torch.float32)
    assert forms.isnan().all()
    edges, counts = levels_of(torch.cat([forms, torch.tensor([1.0])]))
    assert len(edges) == 1 and counts.tolist() == [1]


def test_nan_is_not_counted_and_float64_beyond_float32_is() -> None:
    edges, counts = levels_of(torch.tensor([[1e300, 1.0], [torch.nan, -1e300]], dtype=torch.float64))
    assert counts.tolist() == [1, 1, 1]
    assert edges.isfinite().all()
    assert float(edges[1]) == pytest.approx(1, rel=2**-15)


def test_half_precision() -> None:
    assert levels_of(torch.tensor([0.5, 0.5, 1.0], dtype=torch.float16))[1].tolist() == [2, 1]


def test_threads_add_at_once() -> None:
    histogram, values = FloatHistogram(CPU), torch.rand(200_000)
    threads = [threading.Thread(target=histogram.add, args=(values,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert histogram.levels()[1].equal(4 * levels_of(values)[1])


def test_empty() -> None:
    edges, counts = levels_of(torch.empty(0))
    assert len(edges) == len(counts) == 0
