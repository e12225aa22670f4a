"""Optimizers by name, and which parameters share a learning rate and a weight decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.registry import RegistryError
from fastreid_ext.solver import OPTIMIZERS, build_optimizer
from fastreid_ext.solver.optimizer import parameter_groups


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bottleneck = nn.BatchNorm1d(4)
        self.bottleneck.bias.requires_grad_(False)
        self.weight = nn.Parameter(torch.ones(5, 4))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LayerNorm(4), nn.Linear(4, 4))
        self.heads = Heads()
        self.headset = nn.Linear(4, 4, bias=False)
        self.criterion = nn.Linear(2, 2)
        self.shared = self.backbone[0]
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.headset.weight


def config(**solver: Any) -> CfgNode:
    cfg = get_cfg()
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    return cfg


FACTORS = {
    "OPT": "SGD",
    "BASE_LR": 0.1,
    "WEIGHT_DECAY": 1e-3,
    "WEIGHT_DECAY_NORM": 1e-4,
    "BIAS_LR_FACTOR": 2.0,
    "WEIGHT_DECAY_BIAS": 1e-5,
    "HEADS_LR_FACTOR": 10.0,
}

EXPECTED = {
    "backbone.0.weight": (0.1, 1e-3),
    "backbone.0.bias": (0.2, 1e-5),
    # A norm's bias is a bias first, as in FastReID.
    "backbone.1.weight": (0.1, 1e-4),
    "backbone.1.bias": (0.2, 1e-5),
    "backbone.2.weight": (0.1, 1e-4),
    "backbone.2.bias": (0.2, 1e-5),
    "backbone.3.weight": (0.1, 1e-3),
    "backbone.3.bias": (0.2, 1e-5),
    "heads.weight": (1.0, 1e-3),
    "heads.bottleneck.weight": (1.0, 1e-4),
    "headset.weight": (0.1, 1e-3),
    "criterion.weight": (0.1, 1e-3),
    "criterion.bias": (0.2, 1e-5),
}


def test_every_parameter_gets_its_rate_and_decay() -> None:
    model = Model()
    names = {parameter: name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(config(**FACTORS), model)
    found = {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found.keys() == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        assert found[name] == pytest.approx(expected), name


def test_no_parameter_is_there_twice() -> None:
    parameters = [p for group in parameter_groups(config(**FACTORS), Model()) for p in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(EXPECTED)


def test_equal_parameters_share_a_group() -> None:
    assert len(parameter_groups(config(**FACTORS), Model())) == len(set(EXPECTED.values()))
    assert len(parameter_groups(config(), Model())) == 1


def test_groups_keep_their_initial_rate() -> None:
    for group in build_optimizer(config(**FACTORS), Model()).param_groups:
        assert group["initial_lr"] == group["lr"]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RAdam", "RMSprop", "Adagrad"])
def test_optimizers_of_torch_by_name(name: str) -> None:
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    optimizer = build_optimizer(config(OPT=name, BASE_LR=0.1), model)
    assert type(optimizer) is getattr(torch.optim, name)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert (model.weight != before).all()


def test_sgd_takes_momentum_and_nesterov() -> None:
    optimizer = build_optimizer(config(OPT="SGD", MOMENTUM=0.7, NESTEROV=True), nn.Linear(2, 2))
    assert optimizer.defaults["momentum"] == 0.7
    assert optimizer.defaults["nesterov"] is True


def test_more_arguments() -> None:
    cfg = config(OPT="AdamW", OPT_ARGS=["betas=(0.8, 0.99)", "eps=1e-6", "amsgrad=True"])
    group = build_optimizer(cfg, nn.Linear(2, 2)).param_groups[0]
    assert (group["betas"], group["eps"], group["amsgrad"]) == ((0.8, 0.99), 1e-6, True)


@pytest.mark.parametrize("argument", ["beta=0.9", "lr=1", "weight_decay=0.1", "momentum=0.9"])
def test_argument_that_would_not_count_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match=rf"OPT_ARGS.*'{argument.partition('=')[0]}'.*Adam.*betas"):
        build_optimizer(config(OPT="Adam", OPT_ARGS=[argument]), nn.Linear(2, 2))


@pytest.mark.parametrize("typo", ["AdamWW", "adamw", "Adamw"])
def test_unknown_optimizer_names_close_matches(typo: str) -> None:
    with pytest.raises(RegistryError, match=f"'{typo}'.*Did you mean .*AdamW"):
        build_optimizer(config(OPT=typo), nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["Optimizer", "lr_scheduler", "Tensor"])
def test_only_optimizers_are_optimizers(name: str) -> None:
    with pytest.raises(RegistryError):
        build_optimizer(config(OPT=name), nn.Linear(2, 2))


def test_registered_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPTIMIZERS, "_entries", dict(OPTIMIZERS._entries))
    monkeypatch.setattr(OPTIMIZERS, "_names", dict(OPTIMIZERS._names))

    @OPTIMIZERS.register()
    class Mine(torch.optim.SGD):
        """Mine."""

    assert type(build_optimizer(config(OPT="Mine"), nn.Linear(2, 2))) is Mine


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no parameter"):
        build_optimizer(config(), nn.Linear(2, 2).requires_grad_(False))
