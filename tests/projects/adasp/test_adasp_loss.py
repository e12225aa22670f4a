"""The sparse losses against loops over identities and images, in value and gradient, and what does not change them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_loops import KINDS, adaptive_weights, positives, slow_loss
from torch import Tensor

from fastreid_ext.config import get_cfg
from fastreid_ext.functional.grouped import first_of_each, grouped_logsumexp
from fastreid_ext.functional.opposed import opposed_logsumexp
from fastreid_ext.modeling.losses import LOSSES
from fastreid_ext.projects.adasp import AdaSPLoss, SPHLoss, SPLHLoss

# Identities of 3, 2, 1, 1 and 4 images, in no order.
PIDS = torch.tensor([5, -1, 5, 7, 9, 9, -1, 5, 100, -1, -1])
every_kind = pytest.mark.parametrize("kind", KINDS)


def embed(dim: int = 6, seed: int = 0, *, spread: float = 1.0) -> Tensor:
    """Identities around centres; where the spread is small, hardest positives are above 0."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(200, dim, dtype=torch.float64, generator=generator)
    return centres[PIDS] + spread * torch.randn(len(PIDS), dim, dtype=torch.float64, generator=generator)


def value_and_gradient(loss: Any, embeddings: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    x = embeddings.clone().requires_grad_()
    value = loss(x, *others)
    (gradient,) = torch.autograd.grad(value, x)
    return value.detach(), gradient


def assert_equal(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@every_kind
@pytest.mark.parametrize("tau", [0.01, 0.04, 0.3, 2.0])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_equals_the_loops(kind: Any, tau: float, spread: float) -> None:
    embeddings = embed(spread=spread)
    found = value_and_gradient(AdaSPLoss(temperature=tau, kind=kind), embeddings, PIDS)
    assert_equal(found, value_and_gradient(slow_loss, embeddings, PIDS, tau, kind))
    assert found[1].any()


@settings(max_examples=60, deadline=None)
@given(
    pids=st.lists(st.integers(-3, 3), min_size=1, max_size=9),
    seed=st.integers(0, 2**30),
    spread=st.floats(0.01, 3),
    tau=st.floats(0.01, 1),
    kind=st.sampled_from(KINDS),
)
def test_equals_the_loops_whatever_the_batch(pids: list[int], seed: int, spread: float, tau: float, kind: Any) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(7, 4, dtype=torch.float64, generator=generator)
    identities = torch.tensor(pids)
    embeddings = centres[identities] + spread * torch.randn(len(pids), 4, dtype=torch.float64, generator=generator)
    found = value_and_gradient(AdaSPLoss(temperature=tau, kind=kind), embeddings, identities)
    assert_equal(found, value_and_gradient(slow_loss, embeddings, identities, tau, kind), 1e-8)


@pytest.mark.parametrize("kind", ["sp-h", "sp-lh"])
@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_gradients(kind: Any, tau: float) -> None:
    loss = AdaSPLoss(temperature=tau, kind=kind)
    assert torch.autograd.gradcheck(lambda x: loss(x, PIDS), embed(dim=3).requires_grad_())


def test_gradients_of_the_adaptive_positive_hold_its_weight() -> None:
    embeddings, tau = embed(dim=3, spread=0.2), 0.1
    weights = adaptive_weights(embeddings, PIDS, tau)
    assert sum(0.2 < weight < 0.95 for weight in weights.values()) >= 2
    _, gradient = value_and_gradient(AdaSPLoss(temperature=tau), embeddings, PIDS)
    numeric, moving = torch.empty_like(embeddings), torch.empty_like(embeddings)
    step = 1e-6
    for place in range(embeddings.numel()):
        change = torch.zeros_like(embeddings)
        change.view(-1)[place] = step
        for slopes, held in ((numeric, weights), (moving, None)):
            ends = [slow_loss(embeddings + side * change, PIDS, tau, "adasp", held).item() for side in (-1, 1)]
            slopes.view(-1)[place] = (ends[1] - ends[0]) / (2 * step)
    torch.testing.assert_close(gradient, numeric, rtol=1e-6, atol=1e-7)
    assert (gradient - moving).abs().max() > 1e-3


@every_kind
def test_neither_order_nor_names_of_identities_matter(kind: Any) -> None:
    embeddings, loss = embed(spread=0.4), AdaSPLoss(kind=kind)
    value, gradient = value_and_gradient(loss, embeddings, PIDS)
    for seed in range(5):
        order = torch.randperm(len(PIDS), generator=torch.Generator().manual_seed(seed))
        assert_equal(value_and_gradient(loss, embeddings[order], PIDS[order]), (value, gradient[order]))
    renamed = (PIDS * -7 + 3).int()
    assert_equal(value_and_gradient(loss, embeddings, renamed), (value, gradient))


@every_kind
def test_lengths_of_embeddings_do_not_matter(kind: Any) -> None:
    embeddings, loss = embed(), AdaSPLoss(kind=kind)
    lengths = torch.logspace(-9, 9, len(PIDS), dtype=torch.float64)[:, None]
    value, gradient = value_and_gradient(loss, embeddings * lengths, PIDS)
    assert_equal((value, gradient * lengths), value_and_gradient(loss, embeddings, PIDS))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**30), spread=st.floats(0.001, 3), tau=st.floats(0.01, 2))
def test_adaptive_positive_lies_between_the_others(seed: int, spread: float, tau: float) -> None:
    embeddings = embed(seed=seed, spread=spread)
    losses = {kind: AdaSPLoss(temperature=tau, kind=kind)(embeddings, PIDS).item() for kind in KINDS}  # type: ignore[arg-type]
    assert losses["sp-lh"] - 1e-12 <= losses["adasp"] <= losses["sp-h"] + 1e-12
    cosines = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(embeddings).T
    same = PIDS[:, None] == PIDS
    of_images, groups = opposed_logsumexp(cosines / tau, same)[0], first_of_each(same)
    hardest, least_hard = -grouped_logsumexp(of_images, groups), grouped_logsumexp(-of_images, groups)
    adaptive = AdaSPLoss(temperature=tau)._positive(hardest, least_hard)
    for pid in PIDS.unique().tolist():
        images = (pid == PIDS).nonzero().flatten().tolist()
        low, high = (value.item() for value in positives(cosines, images, tau))
        place = images[0]
        assert (tau * hardest[place]).item() == pytest.approx(low, abs=1e-9)
        assert (tau * least_hard[place]).item() == pytest.approx(high, abs=1e-9)
        assert low - 1e-9 <= tau * adaptive[place] <= high + 1e-9
        if low < -1e-9:
            assert (tau * adaptive[place]).item() == pytest.approx(high, abs=1e-9)
        elif low > 1e-9:
            weight = 2 * low * high / (low + high)
            assert (tau * adaptive[place]).item() == pytest.approx(weight * low + (1 - weight) * high, abs=1e-9)


def test_value_by_hand() -> None:
    embeddings = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]], dtype=torch.float64)
    pids = torch.tensor([4, 8, 4])
    # Of identity 4, two equal images, all cosines are 1, and 0 with the other identity's; so are those of 8 with 4's.
    least_hard = (1 + 2 / torch.tensor(1.0, dtype=torch.float64).exp()).log()
    hardest = (1 + 2 / (torch.tensor(1.0, dtype=torch.float64).exp() / 4)).log()
    assert torch.isclose(SPHLoss(temperature=1.0)(embeddings, pids), (hardest + least_hard) / 2)
    assert torch.isclose(SPLHLoss(temperature=1.0)(embeddings, pids), least_hard)


def test_classes_are_kinds() -> None:
    embeddings = embed()
    for loss, kind in ((SPHLoss(temperature=0.1), "sp-h"), (SPLHLoss(temperature=0.1), "sp-lh")):
        assert torch.equal(loss(embeddings, PIDS), AdaSPLoss(temperature=0.1, kind=kind)(embeddings, PIDS))  # type: ignore[arg-type]
        assert loss.kind == kind
    assert len({loss.key for loss in (AdaSPLoss(), SPHLoss(), SPLHLoss())}) == 3


def test_from_config() -> None:
    cfg = get_cfg(["adasp"])
    assert LOSSES.get("AdaSPLoss")(cfg).temperature == 0.04 and LOSSES.get("AdaSPLoss")(cfg).kind == "adasp"
    cfg.MODEL.LOSSES.ADASP.TEMPERATURE = 0.07
    cfg.MODEL.LOSSES.ADASP.KIND = "sp-lh"
    cfg.MODEL.LOSSES.ADASP.SCALE = 0.5
    made = {name: LOSSES.get(name)(cfg) for name in ("AdaSPLoss", "SPHLoss", "SPLHLoss")}
    assert {name: loss.kind for name, loss in made.items()} == {
        "AdaSPLoss": "sp-lh",
        "SPHLoss": "sp-h",
        "SPLHLoss": "sp-lh",
    }
    assert all(loss.temperature == 0.07 and loss.scale(cfg) == 0.5 for loss in made.values())
    assert torch.equal(made["AdaSPLoss"](embed(), PIDS), made["SPLHLoss"](embed(), PIDS))
    assert "temperature=0.07, kind='sp-lh'" in repr(made["AdaSPLoss"])
    cfg.MODEL.LOSSES.ADASP.KIND = "hard"
    with pytest.raises(ValueError, match="unknown kind 'hard' of AdaSP: choose one of adasp, sp-h, sp-lh"):
        LOSSES.get("AdaSPLoss")(cfg)


@pytest.mark.parametrize("temperature", [0, -0.04, float("nan"), float("inf")])
def test_wrong_temperatures_are_refused(temperature: float) -> None:
    for loss_class in (AdaSPLoss, SPHLoss, SPLHLoss):
        with pytest.raises(ValueError, match="must be above 0"):
            loss_class(temperature=temperature)


@every_kind
def test_wrong_shapes_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"\(11, 6\) and \(10,\)"):
        AdaSPLoss(kind=kind)(embed(), PIDS[:-1])
