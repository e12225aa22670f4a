from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.config import ConfigError, get_cfg
from fastreid_ext.modeling.losses import (
    LOSSES,
    ClassificationLoss,
    Criterion,
    CrossEntropyLoss,
    FocalLoss,
    MapLoss,
    MetricLearningLoss,
    TripletLoss,
    build_criterion,
)
from fastreid_ext.registry import RegistryError


def random_logits(batch: int = 7, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, dtype=torch.float64, generator=generator)
    return logits, torch.randint(classes, (batch,), generator=generator)


def slow_cross_entropy(logits: Tensor, pids: Tensor, epsilon: float, alpha: float) -> float:
    total = 0.0
    for row, pid in zip(logits.tolist(), pids.tolist(), strict=True):
        normaliser = sum(math.exp(value) for value in row)
        probabilities = [math.exp(value) / normaliser for value in row]
        smoothing = alpha * probabilities[pid] if epsilon == -1 else epsilon
        for index, probability in enumerate(probabilities):
            target = 1 - smoothing if index == pid else smoothing / (len(row) - 1)
            total -= target * math.log(probability)
    return total / len(logits)


def slow_focal(logits: Tensor, pids: Tensor, alpha: float, gamma: float) -> float:
    total = 0.0
    for row, pid in zip(logits.tolist(), pids.tolist(), strict=True):
        probability = math.exp(row[pid]) / sum(math.exp(value) for value in row)
        total -= alpha * (1 - probability) ** gamma * math.log(probability)
    return total / len(logits)


CLASSIFICATION = [
    CrossEntropyLoss(),
    CrossEntropyLoss(epsilon=0.1),
    CrossEntropyLoss(epsilon=-1, alpha=0.3),
    FocalLoss(),
    FocalLoss(alpha=1.0, gamma=0.5),
    FocalLoss(gamma=0.0),
]
every_loss = pytest.mark.parametrize("loss", CLASSIFICATION, ids=lambda loss: f"{loss.key}-{vars(loss)}"[:60])


@pytest.mark.parametrize("epsilon", [0.0, 0.1, -1])
def test_cross_entropy_equals_the_loop(epsilon: float) -> None:
    logits, pids = random_logits()
    loss = CrossEntropyLoss(epsilon=epsilon, alpha=0.3)(logits, pids)
    assert loss.item() == pytest.approx(slow_cross_entropy(logits, pids, epsilon, 0.3), abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_equals_the_loop(gamma: float) -> None:
    logits, pids = random_logits()
    loss = FocalLoss(alpha=0.25, gamma=gamma)(logits, pids)
    assert loss.item() == pytest.approx(slow_focal(logits, pids, 0.25, gamma), abs=1e-9)


def test_focal_without_focus_is_weighted_cross_entropy() -> None:
    logits, pids = random_logits()
    assert FocalLoss(alpha=0.5, gamma=0)(logits, pids) == pytest.approx(0.5 * CrossEntropyLoss()(logits, pids))


def test_adaptive_smoothing_is_a_constant_to_the_gradient() -> None:
    logits, pids = random_logits(batch=1)
    logits.requires_grad_()
    CrossEntropyLoss(epsilon=-1, alpha=0.2)(logits, pids).backward()
    smoothing = 0.2 * logits.detach().softmax(1)[0, pids[0]].item()
    fixed = logits.detach().requires_grad_()
    CrossEntropyLoss(epsilon=smoothing)(fixed, pids).backward()
    torch.testing.assert_close(logits.grad, fixed.grad)


@pytest.mark.parametrize("loss", [loss for loss in CLASSIFICATION if getattr(loss, "epsilon", 0) != -1])
def test_classification_gradients(loss: ClassificationLoss) -> None:
    logits, pids = random_logits()
    assert torch.autograd.gradcheck(lambda x: loss(x, pids), logits.requires_grad_())


@every_loss
def test_the_order_of_the_batch_does_not_matter(loss: ClassificationLoss) -> None:
    logits, pids = random_logits()
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(logits[order], pids[order]), loss(logits, pids))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_even_when_sure(loss: ClassificationLoss, dtype: torch.dtype) -> None:
    logits, pids = random_logits(classes=5)
    logits[0] = torch.tensor([60000.0, -60000, 0, 0, 0])
    pids[0] = 0
    logits = logits.to(dtype).requires_grad_()
    value = loss(logits, pids)
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None and logits.grad.isfinite().all()


@every_loss
def test_an_empty_batch_gives_zero_with_a_graph(loss: ClassificationLoss) -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    value = loss(logits, torch.zeros(0, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None


@every_loss
def test_a_single_class_gives_zero(loss: ClassificationLoss) -> None:
    logits = torch.randn(3, 1, requires_grad=True)
    value = loss(logits, torch.zeros(3, dtype=torch.long))
    value.backward()
    assert value.item() == pytest.approx(0)
    assert logits.grad is not None and logits.grad.isfinite().all()


@every_loss
def test_inputs_are_left_alone(loss: ClassificationLoss) -> None:
    logits, pids = random_logits()
    before = logits.clone(), pids.clone()
    loss(logits.requires_grad_(), pids).backward()
    assert torch.equal(logits, before[0])
    assert torch.equal(pids, before[1])


@every_loss
def test_nothing_depends_on_values_that_a_gpu_would_have_to_send(loss: ClassificationLoss) -> None:
    logits = torch.randn(6, 4, device="meta", requires_grad=True)
    loss(logits, torch.zeros(6, dtype=torch.long, device="meta")).backward()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="label smoothing"):
        CrossEntropyLoss(epsilon=1.5)
    with pytest.raises(ValueError, match="gamma"):
        FocalLoss(gamma=-1)
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(5,\)"):
        CrossEntropyLoss()(torch.zeros(4, 3), torch.zeros(5, dtype=torch.long))


def criterion(*names: str, **options: object) -> Criterion:
    cfg = get_cfg()
    cfg.MODEL.LOSSES.NAME = names
    for key, value in options.items():
        node, name = key.split("__")
        cfg.MODEL.LOSSES[node][name] = value
    return build_criterion(cfg)


def outputs(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "cls_outputs": torch.randn(8, 4, generator=generator, requires_grad=True),
        "features": torch.randn(8, 6, generator=generator, requires_grad=True),
    }


PIDS = torch.arange(8) // 2


def test_criterion_weights_each_loss_by_its_scale() -> None:
    losses = criterion("CrossEntropyLoss", "TripletLoss", TRI__SCALE=0.5, TRI__MARGIN=1.0, CE__EPSILON=0.1)
    found = losses(outputs(), PIDS)
    assert list(found) == ["loss_cls", "loss_triplet"]
    torch.testing.assert_close(found["loss_cls"], CrossEntropyLoss(epsilon=0.1)(outputs()["cls_outputs"], PIDS))
    plain = TripletLoss(margin=1.0, hard_mining=False)(outputs()["features"], PIDS)
    torch.testing.assert_close(found["loss_triplet"], 0.5 * plain)


def test_criterion_computes_every_loss_for_every_branch() -> None:
    losses = criterion("CrossEntropyLoss", "TripletLoss")
    branches = {"global": outputs(0), "local": outputs(1)}
    found = losses({"branches": branches}, PIDS)
    assert set(found) == {"loss_cls_global", "loss_triplet_global", "loss_cls_local", "loss_triplet_local"}
    for branch, of_branch in branches.items():
        alone = losses(of_branch, PIDS)
        for key in ("loss_cls", "loss_triplet"):
            torch.testing.assert_close(found[f"{key}_{branch}"], alone[key])
    torch.stack(list(found.values())).sum().backward()
    assert all(tensor.grad is not None for branch in branches.values() for tensor in branch.values())


def test_criterion_reads_every_registered_loss_from_the_config() -> None:
    # Projects that other tests loaded add theirs.
    own = [entry.name for entry in LOSSES if entry.target.__module__.startswith("fastreid_ext.modeling.")]
    found = criterion(*own)(outputs(), PIDS)
    assert set(found) == {
        "loss_cls",
        "loss_focal",
        "loss_triplet",
        "loss_triplet_all",
        "loss_circle",
        "loss_cosface",
    }
    assert all(value.dim() == 0 and value.requires_grad for value in found.values())


def test_criterion_refuses_no_loss_and_the_same_loss_twice() -> None:
    with pytest.raises(ConfigError, match="NAME is empty"):
        criterion()
    with pytest.raises(ConfigError, match="more than one loss named loss_triplet"):
        criterion("TripletLoss", "CrossEntropyLoss", "TripletLoss")


def test_an_unknown_loss_lists_close_matches() -> None:
    with pytest.raises(RegistryError, match="Did you mean TripletLoss"):
        criterion("Triplet")


def test_pml_loss_equals_the_library() -> None:
    pml = pytest.importorskip("pytorch_metric_learning.losses")
    found = criterion("pml:MultiSimilarityLoss:alpha=1,beta=40,scale=0.5")(outputs(), PIDS)
    plain = pml.MultiSimilarityLoss(alpha=1, beta=40)(outputs()["features"], PIDS)
    torch.testing.assert_close(found["loss_pml_multi_similarity"], 0.5 * plain)
    found["loss_pml_multi_similarity"].backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pml_loss_takes_half_precision_and_empty_batches(dtype: torch.dtype) -> None:
    pytest.importorskip("pytorch_metric_learning")
    loss = MetricLearningLoss("TripletMarginLoss", margin=0.2)
    for batch in (8, 0):
        embeddings = torch.randn(batch, 6).to(dtype).requires_grad_()
        value = loss(embeddings, PIDS[:batch])
        value.backward()
        assert value.isfinite()
        assert embeddings.grad is not None and embeddings.grad.isfinite().all()


def test_pml_loss_with_weights_of_its_own_is_trained() -> None:
    pytest.importorskip("pytorch_metric_learning")
    losses = criterion("pml:ProxyAnchorLoss:num_classes=4,embedding_size=6")
    assert list(losses.state_dict()) == ["losses.pml_proxy_anchor.loss.proxies"]
    weights = list(losses.parameters())
    assert [tuple(weight.shape) for weight in weights] == [(4, 6)]
    losses(outputs(), PIDS)["loss_pml_proxy_anchor"].backward()
    assert weights[0].grad is not None and weights[0].grad.abs().sum() > 0


def test_pml_faults_are_explained() -> None:
    pytest.importorskip("pytorch_metric_learning")
    with pytest.raises(RegistryError, match="Did you mean MultiSimilarityLoss"):
        criterion("pml:MultiSimilarity")
    with pytest.raises(ConfigError, match="num_classes"):
        criterion("pml:ProxyAnchorLoss")
    with pytest.raises(ConfigError, match="of the form key=value"):
        criterion("pml:TripletMarginLoss:0.2")


def test_pml_without_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.losses", None)
    with pytest.raises(ImportError, match=r"fastreid_ext\[zoo\]"):
        MetricLearningLoss("TripletMarginLoss")


def test_a_loss_with_outputs_of_its_own_needs_only_from_outputs() -> None:
    class Norm(ClassificationLoss):
        key = "norm"
        node = "CE"

        def from_outputs(self, outputs: dict[str, Tensor], pids: Tensor) -> Tensor:  # type: ignore[override]
            return outputs["features"].square().mean()

    found = Criterion(losses=[Norm()], scales=[2.0])(outputs(), PIDS)
    torch.testing.assert_close(found["loss_norm"], 2 * outputs()["features"].square().mean())
    assert isinstance(Norm(), nn.Module)


def test_a_loss_on_maps_is_computed_once_for_all_branches() -> None:
    class Energy(MapLoss):
        key = "energy"
        node = "CE"

        def forward(self, maps: Tensor, pids: Tensor) -> Tensor:
            return maps.square().mean()

    losses = Criterion(losses=[Energy(), CrossEntropyLoss()], scales=[2.0, 1.0])
    maps = torch.randn(8, 3, 2, 2)
    for heads, names in (
        (outputs(), {"loss_cls"}),
        ({"branches": {"a": outputs(0), "b": outputs(1)}}, {"loss_cls_a", "loss_cls_b"}),
    ):
        found = losses({**heads, "map": maps}, PIDS)
        assert set(found) == names | {"loss_energy"}
        torch.testing.assert_close(found["loss_energy"], 2 * maps.square().mean())
    with pytest.raises(ConfigError, match="loss_energy is of the backbone's last map"):
        losses(outputs(), PIDS)
