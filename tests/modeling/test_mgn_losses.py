"""MGN's losses: which branches have them, with which weights, and that everything learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext import projects
from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling import LOSSES, build_model
from fastreid_ext.modeling.losses import (
    CircleLoss,
    Criterion,
    CrossEntropyLoss,
    FocalLoss,
    Loss,
    MapLoss,
    MetricLearningLoss,
    TripletLoss,
)
from fastreid_ext.modeling.meta_arch import MGN
from fastreid_ext.solver import build_optimizer

CLASSIFIED = ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33")
COMPARED = ("b1", "b2", "b22", "b3", "b33")
PIDS = torch.tensor([0, 0, 1, 1, 2, 2])


def config(*losses: str, **heads: Any) -> CfgNode:
    cfg = get_cfg()
    model = {
        "META_ARCHITECTURE": "MGN",
        "DEVICE": "cpu",
        "BACKBONE": {"DEPTH": "18x"},
        "HEADS": {"NUM_CLASSES": 3, "EMBEDDING_DIM": 8, "WITH_BNNECK": True, **heads},
        "LOSSES": {"NAME": losses, "CE": {"SCALE": 3.0, "EPSILON": 0.1}, "TRI": {"SCALE": 7.0, "HARD_MINING": True}},
    }
    cfg.merge_from_mapping({"MODEL": model})
    return cfg


def batch() -> dict[str, Tensor]:
    return {"images": torch.randint(0, 256, (6, 3, 64, 32)), "targets": PIDS}


def features_by_hand(model: MGN, data: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Logits and features of a batch, branch by branch."""
    shared = model.backbone(model.normalize(data["images"]))
    b1, b2, b3 = model.b1(shared), model.b2(shared), model.b3(shared)  # type: ignore[operator]
    maps = {"b1": b1, "b2": b2, "b3": b3, "b21": b2[:, :, :2], "b22": b2[:, :, 2:]}
    maps |= {"b31": b3[:, :, :2], "b32": b3[:, :, 2:3], "b33": b3[:, :, 3:]}
    found = {name: getattr(model, f"{name}_head")(part, PIDS) for name, part in maps.items()}
    logits = {name: of_head["cls_outputs"] for name, of_head in found.items()}
    features = {name: of_head["features"] for name, of_head in found.items()}
    pairs = {name: features[name] for name in ("b1", "b2", "b3")}
    pairs["b22"] = torch.cat([features["b21"], features["b22"]], 1)
    pairs["b33"] = torch.cat([features["b31"], features["b32"], features["b33"]], 1)
    return logits, pairs


@pytest.mark.parametrize("neck_feat", ["before", "after"])
def test_losses_have_fastreids_names_and_weights(neck_feat: str) -> None:
    model = build_model(config("CrossEntropyLoss", "TripletLoss", NECK_FEAT=neck_feat))
    assert isinstance(model, MGN)
    data = batch()
    logits, pairs = features_by_hand(model, data)
    width = 512 if neck_feat == "before" else 8
    assert [pairs[name].shape[1] for name in COMPARED] == [width, width, 2 * width, width, 3 * width]
    expected = {f"loss_cls_{name}": 3.0 / 8 * CrossEntropyLoss(epsilon=0.1)(logits[name], PIDS) for name in CLASSIFIED}
    expected |= {f"loss_triplet_{name}": 7.0 / 5 * TripletLoss(margin=0.3)(pairs[name], PIDS) for name in COMPARED}
    found = model(data)
    assert set(found) == set(expected) and len(found) == 13
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_every_parameter_learns_and_no_gradient_is_shared() -> None:
    model = build_model(config("CrossEntropyLoss", "TripletLoss"))
    torch.stack(list(model(batch()).values())).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    one, other = model.b1[1][0].conv1.weight.grad, model.b2[1][0].conv1.weight.grad
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["CircleLoss", "FocalLoss", "pml:MultiSimilarityLoss:alpha=1,scale=2"])
def test_any_loss_is_computed_where_it_fits(name: str) -> None:
    if name.startswith("pml:"):
        pytest.importorskip("pytorch_metric_learning")
    model = build_model(config(name, NECK_FEAT="after"))
    assert isinstance(model, MGN)
    data = batch()
    logits, pairs = features_by_hand(model, data)
    found = model(data)
    if name == "FocalLoss":
        expected = {f"loss_focal_{branch}": FocalLoss()(logits[branch], PIDS) / 8 for branch in CLASSIFIED}
    elif name == "CircleLoss":
        expected = {f"loss_circle_{branch}": CircleLoss()(pairs[branch], PIDS) / 5 for branch in COMPARED}
    else:
        loss = MetricLearningLoss("MultiSimilarityLoss", alpha=1)
        expected = {f"loss_pml_multi_similarity_{branch}": 2 / 5 * loss(pairs[branch], PIDS) for branch in COMPARED}
    assert set(found) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def test_losses_and_classifiers_of_projects() -> None:
    projects.load("gms")
    cfg = get_cfg()
    projects.load("gms").add_config(cfg)
    cfg.merge_from_mapping({"MODEL": config("CrossEntropyLoss", "GMSPairwiseLoss", CLS_LAYER="GMSSoftmax").MODEL})
    found = build_model(cfg)(batch())
    assert len(found) == 13 and all(torch.isfinite(value) for value in found.values())


def test_every_loss_of_the_library_trains() -> None:
    for entry in LOSSES:
        if not entry.target.__module__.startswith("fastreid_ext.modeling."):
            continue
        found = build_model(config(entry.name))(batch())
        assert len(found) in (5, 8), entry.name


def test_losses_on_maps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class MapEnergy(MapLoss):
        key = "map_energy"
        node = "CE"

    model = build_model(config("CrossEntropyLoss"))
    model.criterion = Criterion(losses=[MapEnergy()])
    with pytest.raises(ConfigError, match=r"loss_map_energy .* like MGN, has several last maps"):
        model(batch())
    monkeypatch.setattr(LOSSES, "get", lambda name: MapEnergy)
    with torch.device("meta"), pytest.raises(ConfigError, match=r"MapEnergy .* last map, which .* MGN does not have"):
        MGN(config("MapEnergy"))


def test_losses_with_weights_of_one_width_are_refused() -> None:
    pytest.importorskip("pytorch_metric_learning")
    with torch.device("meta"), pytest.raises(ConfigError, match=r"loss_pml_proxy_anchor has weights .* MGN's branches"):
        MGN(config("pml:ProxyAnchorLoss:num_classes=3,embedding_size=8"))


def test_heads_with_branches_of_their_own_are_refused() -> None:
    class Twice(nn.Module):
        def forward(self, maps: Tensor, pids: Tensor) -> dict[str, Any]:
            return {"branches": {}}

    necks = [nn.Identity() for _ in range(3)]
    model = MGN(backbone=nn.Identity(), necks=necks, heads={name: Twice() for name in CLASSIFIED})
    model.criterion = Criterion(losses=[CrossEntropyLoss()])
    with pytest.raises(ConfigError, match=r"heads of one branch: set MODEL.HEADS.NAME"):
        model({"images": torch.rand(2, 3, 6, 2), "targets": PIDS[:2]})


def test_the_learning_rate_of_heads_is_that_of_all_eight() -> None:
    cfg = config("CrossEntropyLoss")
    cfg.SOLVER.HEADS_LR_FACTOR = 10.0
    model = build_model(cfg)
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in build_optimizer(cfg, model).param_groups:
        of_heads = {"_head." in names[parameter] for parameter in group["params"]}
        assert len(of_heads) == 1
        assert group["lr"] == pytest.approx(cfg.SOLVER.BASE_LR * (10.0 if of_heads.pop() else 1.0))


def test_averaged_weights_are_divided_by_the_branches_that_have_a_loss() -> None:
    class Everywhere(Loss):
        key = "everywhere"
        node = "CE"
        takes = ("cls_outputs",)

        def from_outputs(self, outputs: Any, pids: Tensor) -> Tensor:
            return torch.tensor(1.0)

    criterion = Criterion(losses=[CrossEntropyLoss(), TripletLoss(), Everywhere()], scales=[2.0, 3.0, 6.0])
    both = {"cls_outputs": torch.randn(6, 3), "features": torch.randn(6, 4)}
    branches = {"a": both, "b": {"cls_outputs": torch.randn(6, 3)}, "c": both}
    plain, averaged = (criterion({"branches": branches, "averaged": flag}, PIDS) for flag in (False, True))
    assert list(plain) == list(averaged) and len(plain) == 8
    assert "loss_triplet_b" not in plain and plain["loss_everywhere_b"] == 6
    for name, value in plain.items():
        torch.testing.assert_close(averaged[name], value / (2 if "triplet" in name else 3))
    with pytest.raises(ConfigError, match="loss_triplet takes features of a head's outputs, which no branch of b has"):
        criterion({"branches": {"b": branches["b"]}}, PIDS)
    with pytest.raises(ConfigError, match="which the head does not give"):
        criterion(branches["b"], PIDS)


def test_a_loss_that_does_not_say_what_it_takes_has_branches_of_one_kind() -> None:
    class Silent(Loss):
        key = "silent"
        node = "CE"

        def from_outputs(self, outputs: Any, pids: Tensor) -> Tensor:
            total: Tensor = outputs["features"].sum()
            return total

    criterion = Criterion(losses=[Silent()])
    both = {"cls_outputs": torch.randn(6, 3), "features": torch.randn(6, 4)}
    assert list(criterion({"branches": {"a": both, "b": both}}, PIDS)) == ["loss_silent_a", "loss_silent_b"]
    with pytest.raises(ConfigError, match=r"set the class attribute Silent\.takes"):
        criterion({"branches": {"a": both, "b": {"cls_outputs": both["cls_outputs"]}}}, PIDS)
