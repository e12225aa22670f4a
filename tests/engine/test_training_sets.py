"""What a checkpoint was trained on, from what it says and what is at hand."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.data.datasets import MarketLayout
from fastreid_ext.engine.cli.training_sets import training_sets
from fastreid_ext.evaluation.domains import is_transfer, specs_of


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    return load_config("", ["DATASETS.NAMES", ("MSMT17",), "DATASETS.ROOT", str(tmp_path)])


def test_the_checkpoint_says_it(cfg: CfgNode, market_folder: Callable[..., Path], tmp_path: Path) -> None:
    target = MarketLayout(tmp_path, str(market_folder("target")))
    target.spec = f"MarketLayout:{tmp_path / 'target'}"
    saved = load_config("", ["DATASETS.NAMES", ("Market1501", target.spec)]).dump()
    assert training_sets(cfg, {"config": saved}, [target]) == ["Market1501", target.spec]


@pytest.mark.parametrize(
    "state", [{}, {"config": None}, {"config": "text"}, {"config": "{"}, {"config": {"DATASETS": 1}}]
)
def test_a_foreign_checkpoint_leaves_it_to_the_config(cfg: CfgNode, state: dict[str, Any], tmp_path: Path) -> None:
    assert training_sets(cfg, state, []) == ["MSMT17"]


def test_files_tell_that_another_name_means_the_same(
    cfg: CfgNode, market_folder: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    market_folder("source")
    target = MarketLayout(tmp_path, str(market_folder("target", seed=5)))
    saved = load_config("", ["DATASETS.NAMES", ("MarketLayout:source", "Market1501", "Gone:x=1")]).dump()
    same = MarketLayout(tmp_path, str(tmp_path / "source"))
    caplog.set_level(logging.INFO, logger="fastreid_ext")
    found = training_sets(cfg, {"config": saved}, [same, target])
    assert specs_of(found) == ["MarketLayout:source", "Market1501", "Gone:x=1"]
    assert isinstance(found[0], MarketLayout) and found[1:] == ["Market1501", "Gone:x=1"]
    assert not is_transfer(same, found)
    target.spec = "Target"
    assert is_transfer(target, found)
    assert "trained on Market1501, which is not at hand" in caplog.text
