"""Filters of checkpoints: which one takes what, and that none takes what has names of its own here."""

from collections.abc import Mapping

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fastreid_ext import projects
from fastreid_ext.config import load_config
from fastreid_ext.modeling import build_model, checkpoint_filters
from fastreid_ext.modeling.checkpoint import CheckpointError, load_weights
from fastreid_ext.modeling.checkpoint_filters import CHECKPOINT_FILTERS, filtered_weights
from fastreid_ext.registry import Registry

PROJECTS = ("adasp", "grouploss", "msinet")
# One config for each kind of meta-architecture, head and family of names that is shipped; FastReID's are among them.
CONFIGS = (
    "Market1501/bagtricks_R50",
    "Market1501/AGW_R50",
    "Market1501/sbs_R50",
    "Market1501/mgn_R50-ibn",
    "adasp/msmt17",
    "adasp/veri",
    "grouploss/cub",
    "grouploss/table8/cub_densenet121",
    "msinet/osnet/market",
    "moreid/quickstart",
    "msinet/sam/msmt",
    "msinet/search_msmt",
)
FOREIGN = {
    "grouploss": {"conv1_7x7_s2.weight": (64, 3, 7, 7), "last_linear.weight": (9, 1024), "last_linear.bias": (9,)},
    "msinet": {"conv1.conv.weight": (64, 3, 7, 7), "cells.0.conv1a.conv.weight": (64, 64, 1, 1)},
}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.heads = nn.Linear(2, 2), nn.Linear(2, 2)


@pytest.fixture
def filters(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry("checkpoint filter")
    monkeypatch.setattr(checkpoint_filters, "CHECKPOINT_FILTERS", registry)
    return registry


def others(model: nn.Module) -> dict[str, Tensor]:
    return {f"other.{name}": value + 1 for name, value in model.state_dict().items()}


def test_the_filter_that_knows_the_names_renames(filters: Registry) -> None:
    asked = []

    @filters.register("silent")
    def silent(weights: Mapping[str, Tensor], model: nn.Module) -> None:
        asked.append((list(weights), model))

    @filters.register("knows")
    def knows(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        return {name.removeprefix("other."): value for name, value in weights.items()}

    @filters.register("too late")
    def too_late(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        raise AssertionError

    model, weights = Small(), others(Small())
    expected = {name.removeprefix("other."): value.clone() for name, value in weights.items()}
    report = load_weights(model, {"state_dict": {f"module.{name}": value for name, value in weights.items()}})
    assert asked == [(list(weights), model)]
    assert report.fits
    assert "4 tensors loaded, renamed by the filter 'knows'" in str(report)
    torch.testing.assert_close(model.state_dict(), expected)


def test_names_that_no_filter_knows_stay(filters: Registry) -> None:
    filters.register("silent")(lambda weights, model: None)
    weights = others(Small())
    found, name = filtered_weights(weights, Small())
    assert found is weights
    assert name == ""
    assert load_weights(Small(), Small().state_dict()).filter == ""


def test_what_a_filter_leaves_is_reported(filters: Registry) -> None:
    filters.register("half")(lambda weights, model: {"backbone.weight": torch.zeros(2, 2), "mystery": torch.zeros(1)})
    report = load_weights(Small(), others(Small()))
    assert report.unexpected == ["mystery"]
    assert report.missing == ["backbone.bias", "heads.weight", "heads.bias"]
    with pytest.raises(CheckpointError, match=r"renamed by the filter 'half'.*heads\.bias.*passed over: mystery"):
        load_weights(Small(), others(Small()), for_inference=True)


def test_two_filters_of_a_name_are_refused(filters: Registry) -> None:
    filters.register("same")(lambda weights, model: None)
    with pytest.raises(KeyError, match="checkpoint filter 'same' is registered twice"):
        filters.register("same")(lambda weights, model: None)


def test_projects_bring_their_filters() -> None:
    for name in PROJECTS:
        project = projects.load(name)
        assert CHECKPOINT_FILTERS.get(name) is project.checkpoint_filter


@pytest.mark.parametrize("config", CONFIGS)
def test_our_names_are_left_alone(config: str) -> None:
    model = on_meta(config)
    assert [projects.load(name).checkpoint_filter(model.state_dict(), model) for name in PROJECTS] == [None] * 3


@pytest.mark.parametrize("network", ["resnet50", "densenet121", "mobilenet_v2"])
def test_torchvisions_names_are_left_alone(network: str) -> None:
    with torch.device("meta"):
        weights = torchvision.models.get_model(network).state_dict()
    assert [projects.load(name).checkpoint_filter(weights, Small()) for name in PROJECTS] == [None] * 3


@pytest.mark.parametrize("author", sorted(FOREIGN))
def test_filters_take_their_own_authors_names_only(author: str) -> None:
    weights = {name: torch.zeros(shape) for name, shape in FOREIGN[author].items()}
    taken = {name for name in PROJECTS if projects.load(name).checkpoint_filter(weights, Small()) is not None}
    assert taken == {author}


def on_meta(config: str) -> nn.Module:
    options = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 5]
    with torch.device("meta"):
        return build_model(load_config(config, options))


def test_what_a_filter_leaves_is_an_error_in_evaluation_although_nothing_is_missing(filters: Registry) -> None:
    @filters.register("partly")
    def partly(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        return {name.removeprefix("other."): value for name, value in weights.items()}

    model = Small()
    state = others(model) | {"embed.bias": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"passed over: embed\.bias.*describes the authors' network"):
        load_weights(model, state, for_inference=True)
    assert load_weights(model, state).unexpected == ["embed.bias"]
