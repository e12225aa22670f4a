"""Which features the two-branch neck embeds with."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.cli.train import train_or_evaluate
from fastreid_ext.evaluation.domains import in_domain
from fastreid_ext.evaluation.evaluator import evaluate
from fastreid_ext.projects.msinet import TwoBranchHead


@pytest.mark.parametrize(
    ("choice", "seen", "scale"),
    [
        ("auto", True, 1.0),
        ("auto", False, 2.0),
        ("before", False, 1.0),
        ("after", True, 2.0),
    ],
)
def test_test_features_are_from_before_or_after_the_neck(choice: str, seen: bool, scale: float) -> None:
    features = {"last": torch.rand(2, 512, 4, 2), "local": torch.rand(2, 384, 4, 2)}
    head = TwoBranchHead(num_classes=3, test_feat=choice).eval()
    for branch in (head.global_branch, head.local_branch):
        nn.init.constant_(branch.neck.weight, 2.0)
    with in_domain(head, seen=seen):
        found = head(features)
    head.test_feat = "before"
    assert found.shape == (2, 768)
    torch.testing.assert_close(found, head(features) * (scale if scale == 1 else scale / math.sqrt(1 + 1e-5)))


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"MODEL.MSINET.TEST_FEAT is 'auto', 'before' or 'after', not 'between'"):
        TwoBranchHead(test_feat="between")
    with pytest.raises(ValueError, match=r"MODEL.HEADS.NECK_FEAT is 'before' or 'after', not 'auto'"):
        TwoBranchHead(neck_feat="auto")


@pytest.fixture
def cfg(market_folder: Callable[..., Path], tmp_path: Path) -> CfgNode:
    source, target = (f"MarketLayout:{market_folder(name, seed=seed)}" for name, seed in (("source", 0), ("target", 5)))
    options = {
        "MODEL.DEVICE": "cpu",
        "INPUT.SIZE_TRAIN": [32, 16],
        "INPUT.SIZE_TEST": [32, 16],
        "DATASETS.NAMES": (source,),
        "DATASETS.TESTS": (source, target),
        "DATALOADER.NUM_INSTANCE": 2,
        "DATALOADER.NUM_WORKERS": 1,
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.WARMUP_ITERS": 2,
        "TEST.EVAL_UNTRAINED": False,
        "OUTPUT_DIR": str(tmp_path / "run"),
    }
    return load_config("msinet/quickstart", [part for pair in options.items() for part in pair])


def changed(cfg: CfgNode, *options: object) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(options)
    cfg.freeze()
    return cfg


def test_transfers_take_the_features_after_the_neck(cfg: CfgNode, tmp_path: Path) -> None:
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load()
    results = trainer.train()
    source, target = cfg.DATASETS.TESTS
    assert [(spec, results[spec]["transfer"]) for spec in results] == [(source, False), (target, True)]
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    values = {}
    for choice in ("before", "after"):
        trainer.model.heads.test_feat = choice
        values[choice] = []
        evaluate(cfg, trainer.model, trainer.test_data, on_features=lambda f, c=choice: values[c].append(f.values))
    auto: list[torch.Tensor] = []
    trainer.model.heads.test_feat = "auto"
    told = {"trained_on": trainer.data.datasets, "on_features": lambda features: auto.append(features.values)}
    evaluate(cfg, trainer.model, trainer.test_data, **told)
    assert torch.equal(auto[0], values["before"][0]) and torch.equal(auto[1], values["after"][1])
    assert not torch.allclose(auto[1], values["before"][1])

    # Evaluated elsewhere: the checkpoint says what it was trained on, and that data set is gone.
    Path(source.partition(":")[2]).rename(tmp_path / "away")
    more = ("MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth"), "OUTPUT_DIR", str(tmp_path / "evaluation"))
    train_or_evaluate(changed(cfg, "DATASETS.NAMES", (target,), "DATASETS.TESTS", (target,), *more), False, True)
    again = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    assert again == {target: results[target]} and again[target]["trained_on"] == [source]
    assert "test sets of other names count as another domain" in (tmp_path / "evaluation" / "log.txt").read_text()
