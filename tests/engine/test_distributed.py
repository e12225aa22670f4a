"""Two gloo processes against one, through the real launcher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastreid_ext.config import CfgNode
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.launch import launch
from fastreid_ext.utils.dist import all_gather_objects, get_world_size


class Float64Trainer(DefaultTrainer):
    """Rounding in float64 is too small to hide a wrong gradient."""

    def build_model(self, cfg: CfgNode) -> nn.Module:
        return super().build_model(cfg).double()


def train(cfg: CfgNode, processes: int) -> None:
    torch.set_num_threads(1)
    assert get_world_size() == processes
    trainer = Float64Trainer(cfg)
    trainer.train()
    weights = {name: value for name, value in trainer.model.state_dict().items() if "running" not in name}
    for other in all_gather_objects(weights):
        assert all(torch.equal(weights[name], other[name]) for name in weights)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_train_to_the_weights_of_one(make_cfg: Callable[..., CfgNode], accumulation: int) -> None:
    options: dict[str, Any] = {
        "MODEL__BACKBONE__NORM": "GN" if accumulation == 2 else "syncBN",
        "MODEL__HEADS__NORM": "GN" if accumulation == 2 else "syncBN",
        "SOLVER__OPT": "SGD",
        "SOLVER__BASE_LR": 0.001,
        # A network and features with which training is not chaotic: with others, even one process differs visibly from
        # itself after twelve steps when its first weights are changed by 1e-15.
        "MODEL__BACKBONE__NAME": "build_resnet_backbone",
        "MODEL__BACKBONE__DEPTH": "18x",
        "MODEL__BACKBONE__FEAT_DIM": 512,
        "MODEL__HEADS__NECK_FEAT": "after",
        "SOLVER__ACCUMULATION_STEPS": accumulation,
        # Unequal shares in the evaluation: three queries of eight are one rank's.
        "TEST__IMS_PER_BATCH": 3,
    }
    one, two = make_cfg("one", **options), make_cfg("two", **options)
    train(one, 1)
    launch(train, (two, 2), num_processes=2, device="cpu")
    first, second = (read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth") for cfg in (one, two))
    assert first["iteration"] == second["iteration"] == 12
    for name, value in first["model"].items():
        torch.testing.assert_close(second["model"][name], value, rtol=0, atol=1e-6)
    # Features differ in the last bits, the ranking they give does not.
    results = [(Path(cfg.OUTPUT_DIR) / "results.json").read_text() for cfg in (one, two)]
    assert results[0] == results[1]


def fail_on_rank_one(folder: str) -> None:
    ranks = all_gather_objects(folder)
    raise RuntimeError(f"one of {len(ranks)} failed")


def test_an_error_in_a_process_ends_the_run() -> None:
    with pytest.raises(Exception, match="one of 2 failed"):
        launch(fail_on_rank_one, ("x",), num_processes=2, device="cpu")


def test_several_machines_need_an_address() -> None:
    with pytest.raises(ValueError, match="--dist-url tcp://"):
        launch(fail_on_rank_one, ("x",), num_processes=1, num_machines=2, device="cpu")
