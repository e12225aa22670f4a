"""Section 1 of the supplement: the sparse loss samples fewer harmful positives than dense ones, which mine rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastreid_ext.projects.adasp import AdaSPLoss

IDENTITIES = 8
TRIALS = 60
# Similarities of pairs lie on a grid a hundred and more temperatures wide: a soft minimum is a minimum.
TAU = 1e-4


def similarities(images: int, harmful: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Of each identity: symmetric, positive, 1 for an image with itself, and lowest for its harmful pairs.

    Shape:
        harmful: N numbers of pairs.
        Results: (N, images, images), (N, images, images) boolean.
    """
    first, second = torch.triu_indices(images, images, 1)
    matrices = torch.eye(images, dtype=torch.float64).repeat(len(harmful), 1, 1)
    is_harmful = torch.zeros_like(matrices, dtype=torch.bool)
    for identity, number in enumerate(harmful):
        order = torch.randperm(len(first), generator=generator)
        a, b = first[order], second[order]
        levels = torch.linspace(0.1, 0.9, len(first), dtype=torch.float64)
        matrices[identity, a, b] = matrices[identity, b, a] = levels
        is_harmful[identity, a[:number], b[:number]] = is_harmful[identity, b[:number], a[:number]] = True
    return matrices, is_harmful


def sampled(matrices: Tensor, kind: Any, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Share that each pair of an identity has in the gradient of the loss's positive similarity.

    Shape:
        matrices: (N, M, M).
        Result: (N, M, M), of sum 1 for each identity.
    """
    number, images = matrices.shape[:2]
    pids = torch.arange(number).repeat_interleave(images)
    same = pids[:, None] == pids
    # Images of others are more alike than those of an identity: all identities weigh alike.
    of_all = torch.where(same, torch.block_diag(*matrices), 0.95).requires_grad_()
    monkeypatch.setattr("fastreid_ext.projects.adasp.loss.gram_matrix", lambda rows: of_all)
    loss = AdaSPLoss(temperature=TAU, kind=kind)(torch.ones(len(pids), 2, dtype=torch.float64), pids)
    (gradient,) = torch.autograd.grad(loss, of_all)
    shares = torch.where(same, -gradient, 0).reshape(number, images, number, images)
    shares = shares[torch.arange(number), :, torch.arange(number)] * number * TAU
    torch.testing.assert_close(shares.sum((1, 2)), torch.ones(number, dtype=torch.float64))
    return shares


def dense(matrices: Tensor) -> Tensor:
    """The lowest positive of each row, which dense losses mine.

    Shape:
        matrices: (N, M, M).
        Result: (N, M, M), boolean.
    """
    return matrices == matrices.amin(2, keepdim=True)


@pytest.mark.parametrize("images", [2, 4, 6])
def test_sampled_pairs_are_those_of_the_definitions(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    matrices, _ = similarities(images, [0] * IDENTITIES, torch.Generator().manual_seed(0))
    of_rows = matrices.amin(2)
    for kind, level in (("sp-h", of_rows.amin(1)), ("sp-lh", of_rows.amax(1))):
        shares = sampled(matrices, kind, monkeypatch)
        of_pair = torch.where(matrices == level[:, None, None], shares, 0)
        torch.testing.assert_close(of_pair.sum((1, 2)), torch.ones(IDENTITIES, dtype=torch.float64))
    hard, least_hard = of_rows.amin(1), of_rows.amax(1)
    weight = 2 * hard * least_hard / (hard + least_hard)
    shares = sampled(matrices, "adasp", monkeypatch)
    of_hardest = torch.where(matrices == hard[:, None, None], shares, 0).sum((1, 2))
    torch.testing.assert_close(of_hardest, torch.where(hard == least_hard, 1, weight), rtol=0, atol=1e-3)


@pytest.mark.parametrize("images", [4, 6])
def test_least_hard_samples_fewer_harmful_pairs(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """P_SP and P_D of eqs. S1 to S3; a pair counts twice, as its two entries of the matrix."""
    generator = torch.Generator().manual_seed(images)
    pairs = images * (images - 1) // 2
    sparse_harmful, dense_harmful, situations = [], [], []
    for _ in range(TRIALS):
        harmful = torch.randint(0, pairs + 1, (IDENTITIES,), generator=generator)
        matrices, is_harmful = similarities(images, harmful.tolist(), generator)
        sparse_harmful.append((sampled(matrices, "sp-lh", monkeypatch) * is_harmful).sum((1, 2)))
        dense_harmful.append((dense(matrices) & is_harmful).sum((1, 2)))
        situations.append(2 * harmful)
    of_sparse, of_dense, entries = torch.cat(sparse_harmful), torch.cat(dense_harmful), torch.cat(situations)
    few = entries < images
    # Situation I: fewer harmful entries than rows. There is a row without, so the highest of the rows' lowest is real.
    assert few.sum() > 20 and (of_sparse[few] < 1e-9).all()
    assert (of_dense[few & (entries > 0)] > 0).all()
    # Situation II. Eq. S1: where the sparse loss samples a harmful pair, so does every row.
    is_sampled = of_sparse > 0.5
    assert is_sampled.any() and not is_sampled[~few].all()
    assert (of_dense[is_sampled] == images).all()
    p_sparse, p_dense = of_sparse.mean(), of_dense.double().mean() / images
    assert p_sparse < p_dense - 0.1
    expected = is_sampled.double().mean() + of_dense[~is_sampled].sum() / (images * len(of_dense))
    assert p_dense.item() == pytest.approx(expected.item())


def test_the_hardest_pair_is_harmful_whenever_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices, is_harmful = similarities(4, [0, 1, 1, 2, 3, 6], generator)
    shares = (sampled(matrices, "sp-h", monkeypatch) * is_harmful).sum((1, 2))
    torch.testing.assert_close(shares, torch.tensor([0.0, 1, 1, 1, 1, 1], dtype=torch.float64))


def test_harmful_pairs_may_not_be_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pairs of four images, K = 2 < M = 4, cover all rows: the supplement's K counts entries of the matrix."""
    matrix = torch.tensor(
        [[1.0, 0.1, 0.6, 0.7], [0.1, 1.0, 0.8, 0.9], [0.6, 0.8, 1.0, 0.2], [0.7, 0.9, 0.2, 1.0]], dtype=torch.float64
    )
    shares = sampled(torch.stack([matrix, matrix]), "sp-lh", monkeypatch)
    assert shares[0, 2, 3] + shares[0, 3, 2] == pytest.approx(1)
