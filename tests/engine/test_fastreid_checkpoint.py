"""What FastReID saves can be evaluated and started from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.engine.checkpoint import CheckpointError, load_weights, read_checkpoint
from fastreid_ext.engine.trained_model import trained_model
from fastreid_ext.modeling import build_model

AGW = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.WITH_NL", True, "MODEL.HEADS.WITH_BNNECK", True]


def agw(*more: Any) -> CfgNode:
    return load_config(options=[*AGW, *more])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As FastReID's Checkpointer writes it, with its non-local blocks, of three identities."""
    model = build_model(agw("COMPAT.ONE_CHANNEL_NON_LOCAL", True, "MODEL.HEADS.NUM_CLASSES", 3))
    path = tmp_path_factory.mktemp("fastreid") / "model_final.pth"
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"model": state, "epoch": 59, "metric": 0.5, "optimizer": {}}, path)
    return path


def test_its_non_local_blocks_need_a_switch(checkpoint: Path) -> None:
    state = read_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=r"set COMPAT\.ONE_CHANNEL_NON_LOCAL True"):
        trained_model(agw(), state, source="model_final.pth")
    model = trained_model(agw("COMPAT.ONE_CHANNEL_NON_LOCAL", True), state, source="model_final.pth")
    assert torch.equal(model.state_dict()["heads.weight"], state["model"]["module.heads.weight"])


@pytest.mark.parametrize("state", [{"model": None}, {"epoch": "last"}, {1: 2}], ids=str)
def test_what_holds_no_weights_is_refused(state: dict[Any, Any]) -> None:
    model = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match=r"it\.pth holds no weights"):
        load_weights(model, state, source="it.pth")
    assert load_weights(model, {"model": None, "state_dict": {**model.state_dict(), "epoch": None}}).fits


def test_every_weight_is_taken_over_for_another_training(checkpoint: Path) -> None:
    state = read_checkpoint(checkpoint)
    model = build_model(agw("COMPAT.ONE_CHANNEL_NON_LOCAL", True, "MODEL.HEADS.NUM_CLASSES", 3))
    report = load_weights(model, state)
    assert report.fits and report.loaded == len(state["model"])
    # Another training has other classes, and the switch may have been forgotten: both are said.
    other = load_weights(build_model(agw("MODEL.HEADS.NUM_CLASSES", 5)), state)
    assert any(line.startswith("heads.weight (3, 2048) instead of (5, 2048)") for line in other.other_shape)
    assert "COMPAT.ONE_CHANNEL_NON_LOCAL" in str(other)
