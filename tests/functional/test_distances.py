"""Distances against loops over pairs, in value and gradient."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastreid_ext.functional.distance_rows import DistanceRows
from fastreid_ext.functional.distances import cosine_distance, euclidean_distance, normalize, pairwise_distance

HALF = [torch.float16, torch.bfloat16]
ALL = [*HALF, torch.float32, torch.float64]


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def slow(a: Tensor, b: Tensor, metric: str) -> Tensor:
    result = torch.empty(len(a), len(b), dtype=torch.float64)
    for i, x in enumerate(a.double().tolist()):
        for j, y in enumerate(b.double().tolist()):
            if metric == "cosine":
                product = sum(p * q for p, q in zip(x, y, strict=True))
                result[i, j] = 1 - product / (math.hypot(*x) * math.hypot(*y))
            else:
                result[i, j] = math.dist(x, y)
    return result


def test_values_by_hand() -> None:
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [4.0, 3.0], [-3.0, -4.0], [3.0, 4.0]])
    assert normalize(a).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert cosine_distance(a, b)[0].tolist() == pytest.approx([1, 0.04, 2, 0], abs=1e-6)
    assert euclidean_distance(a, b)[0].tolist() == pytest.approx([5, math.sqrt(2), 10, 0], abs=1e-6)
    assert euclidean_distance(a, b, squared=True)[0].tolist() == pytest.approx([25, 2, 100, 0], abs=1e-5)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_loop(metric: str, dtype: torch.dtype) -> None:
    a, b = draw(4, 7, dtype=dtype), draw(5, 7, dtype=dtype, seed=1)
    result = pairwise_distance(a, b, metric)  # type: ignore[arg-type]  # mypy does not narrow parametrised strings
    assert result.dtype == (torch.float32 if dtype in HALF else dtype)
    torch.testing.assert_close(
        result.double(), slow(a, b, metric), rtol=0, atol=1e-12 if dtype == torch.float64 else 2e-6
    )


@pytest.mark.parametrize(
    "function", [cosine_distance, euclidean_distance, lambda a, b: euclidean_distance(a, b, squared=True)]
)
def test_gradcheck(function) -> None:  # type: ignore[no-untyped-def]
    a, b = draw(3, 4).requires_grad_(), draw(2, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(function, (a, b))
    assert torch.autograd.gradcheck(normalize, (a,))


@pytest.mark.parametrize("dtype", ALL)
def test_finite_at_zero(dtype: torch.dtype) -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]], dtype=dtype, requires_grad=True)
    total = normalize(x).sum() + cosine_distance(x, x).sum() + euclidean_distance(x, x).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and x.grad.isfinite().all() and total.isfinite()
    assert normalize(x)[0].tolist() == [0, 0]
    assert cosine_distance(x, x)[0].tolist() == [1, 1, 1]
    assert euclidean_distance(x, x).diagonal().tolist() == [0, 0, 0]


def test_half_precision_survives_long_vectors() -> None:
    x = torch.full((1, 2048), 100.0, dtype=torch.float16)
    assert normalize(x).dtype == torch.float16
    assert normalize(x).float().norm().item() == pytest.approx(1, abs=2e-3)
    assert euclidean_distance(x, -x).item() == pytest.approx(200 * math.sqrt(2048), rel=1e-5)


def test_autocast_does_not_lower_the_precision() -> None:
    a, b = draw(3, 64, dtype=torch.float32), draw(3, 64, dtype=torch.float32, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cosine_distance(a, b), cosine_distance(a.clone(), b.clone()))
        lowered = a @ b.T
        result = cosine_distance(a, b), euclidean_distance(a, b)
    assert lowered.dtype == torch.bfloat16
    assert torch.equal(result[0], cosine_distance(a, b)) and torch.equal(result[1], euclidean_distance(a, b))


SETTINGS = """
import torch
from fastreid_ext.functional.precision import full_precision

torch.manual_seed(0)
a, b = torch.randn(64, 256), torch.randn(256, 64)
exact = a @ b
{setting}
lowered = a @ b
with full_precision("cpu"):
    assert torch.equal(a @ b, exact)
assert torch.equal(a @ b, lowered)
first = full_precision("cpu")
first.__enter__()
second = full_precision("cpu")
second.__enter__()
first.__exit__(None, None, None)
assert torch.equal(a @ b, exact)
second.__exit__(None, None, None)
assert {unchanged}
"""


@pytest.mark.parametrize(
    ("setting", "unchanged"),
    [
        ("torch.set_float32_matmul_precision('medium')", "torch.get_float32_matmul_precision() == 'medium'"),
        ("torch.backends.fp32_precision = 'tf32'", "torch.backends.cuda.matmul.fp32_precision == 'tf32'"),
        (
            "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
            "torch.backends.mkldnn.matmul.fp32_precision == 'bf16'",
        ),
    ],
)
def test_full_precision_whatever_is_set(setting: str, unchanged: str) -> None:
    """In a process of its own: PyTorch does not forget that two kinds of settings were mixed."""
    if "fp32_precision" in setting and not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this PyTorch has one setting only")
    script = SETTINGS.format(setting=setting, unchanged=unchanged)
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("chunk", [1, 12, 1000])
def test_rows_equal_the_whole_matrix(dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_CPU_COLUMNS", "_PART_ELEMENTS"):
        monkeypatch.setattr(f"fastreid_ext.functional.distance_rows.{name}", chunk)
    a, b = draw(5, 6, dtype=dtype), draw(7, 6, dtype=dtype, seed=1)
    b[3] = 0
    tolerance = 1e-12 if dtype == torch.float64 else 5e-6
    torch.testing.assert_close(DistanceRows(a, b)[1:4], cosine_distance(a, b)[1:4], rtol=0, atol=tolerance)
    squares = euclidean_distance(a, b, squared=True)
    rows = DistanceRows(a, b, "euclidean")
    torch.testing.assert_close(rows[0:5], squares, rtol=0, atol=tolerance)
    buffer = torch.full((3, 9), torch.nan, dtype=rows[0:1].dtype)
    rows.rows(slice(2, 4), buffer[:2, 1:8])
    torch.testing.assert_close(buffer[:2, 1:8], squares[2:4], rtol=0, atol=tolerance)
    assert buffer[2].isnan().all() and buffer[:, [0, 8]].isnan().all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_features_whose_distances_overflow_are_refused(metric: Any) -> None:
    normal = draw(2, 3).float()
    for queries, gallery in ((normal * 1e20, normal), (normal, normal * 1e20)):
        with pytest.raises(ValueError, match="features are so large that distances between them overflow"):
            DistanceRows(queries, gallery, metric)
    DistanceRows(normal.double() * 1e20, normal.double(), metric)


def test_inputs_are_not_changed() -> None:
    a, b = draw(3, 4), draw(2, 4, seed=1)
    copies = a.clone(), b.clone()
    (
        pairwise_distance(a, b),
        pairwise_distance(a, b, "euclidean"),
        DistanceRows(a, b)[0:3],
        DistanceRows(a, b, "euclidean")[0:3],
    )
    assert torch.equal(a, copies[0]) and torch.equal(b, copies[1])


@pytest.mark.parametrize("function", [pairwise_distance, DistanceRows])
def test_unknown_metric(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="unknown metric 'manhattan': choose one of cosine, euclidean"):
        function(draw(1, 2), draw(1, 2), "manhattan")
