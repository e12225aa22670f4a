"""Distillation as a training: from a teacher's run to a student's, resumed and evaluated."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.resume import check_resumed_config
from fastreid_ext.engine.trained_model import trained_model


def test_a_student_is_resumed_and_evaluated(make_cfg: Callable[..., CfgNode], tmp_path: Path) -> None:
    teacher = make_cfg("teacher", SOLVER__MAX_EPOCH=1)
    DefaultTrainer(teacher).train()
    keys = {
        "MODEL__META_ARCHITECTURE": "Distiller",
        "KD__MODEL_CONFIG": [str(tmp_path / "teacher" / "config.yaml")],
        "KD__MODEL_WEIGHTS": [str(tmp_path / "teacher" / "model_final.pth")],
        "KD__EMA__ENABLED": True,
        "KD__EMA__MOMENTUM": 0.9,
    }
    whole, resumed = make_cfg("whole", **keys), make_cfg("resumed", **keys)
    DefaultTrainer(whole).train()
    trainer = DefaultTrainer(resumed)
    trainer.resume_or_load(str(tmp_path / "whole" / "model_0001.pth"))
    trainer.train()
    states = [read_checkpoint(tmp_path / run / "model_final.pth")["model"] for run in ("whole", "resumed")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["average.heads.weight"], states[0]["heads.weight"])
    assert not any(name.startswith("teachers") for name in states[0])
    # Teachers may have moved; what they do may not change.
    moved = make_cfg("moved", **keys | {"KD__MODEL_CONFIG": ["elsewhere.yaml"]})
    assert len(check_resumed_config(whole.dump(), moved)) == 2
    for key, value in {"KD__TEMPERATURE": 4.0, "KD__EMA__MOMENTUM": 0.5}.items():
        with pytest.raises(ConfigError, match=key.replace("__", r"\.")):
            check_resumed_config(whole.dump(), make_cfg("changed", **keys | {key: value}))
    # Its teacher's files are not needed any more.
    shutil.rmtree(tmp_path / "teacher")
    model = trained_model(whole, {"model": states[0]}, source="model_final.pth")
    assert model.eval()(torch.zeros(1, 3, 32, 16)).shape == (1, 128)
