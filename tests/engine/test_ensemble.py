"""Several checkpoints evaluated as one model, as the program does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import options

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.engine.checkpoint import CheckpointError
from fastreid_ext.engine.cli.evaluate import main as evaluate_files
from fastreid_ext.engine.cli.feature_writer import FeatureWriter
from fastreid_ext.engine.cli.train import _evaluate
from fastreid_ext.engine.ensemble import refuse_ensemble
from fastreid_ext.engine.trained_model import own_config
from fastreid_ext.evaluation import FeatureSet
from fastreid_ext.evaluation.feature_files import load_features
from fastreid_ext.modeling import build_model

RESNET = {
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.FEAT_DIM": 512,
    "MODEL.HEADS.EMBEDDING_DIM": 24,
    "INPUT.SIZE_TEST": [48, 32],
}


@pytest.fixture
def market(market_folder: Callable[..., Path]) -> Path:
    return market_folder(test_ids=6)


@pytest.fixture
def config(market: Path, tmp_path: Path) -> Callable[..., CfgNode]:
    def make(output: str = "run", **more: Any) -> CfgNode:
        return load_config("", options(market, tmp_path / output, **more))

    return make


def checkpoint(cfg: CfgNode, path: Path, *, with_config: bool = True, classes: int = 5) -> str:
    """A model as a training would leave it; no training is needed to have features."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = classes
    state: dict[str, Any] = {"model": build_model(cfg).state_dict()}
    torch.save(state | ({"config": cfg.dump()} if with_config else {}), path)
    return str(path)


def evaluated(cfg: CfgNode, tmp_path: Path) -> tuple[dict[str, Any], FeatureSet]:
    """Results and saved features."""
    (spec,) = cfg.DATASETS.TESTS
    writer = FeatureWriter(tmp_path / "features", ".npz", [spec])
    _evaluate(cfg, False, writer)
    results = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text())
    return results[spec], load_features(writer.paths[spec])


def test_a_model_and_its_copy_rank_as_the_model(config: Callable[..., CfgNode], tmp_path: Path) -> None:
    first = checkpoint(config(), tmp_path / "a.pth")
    copy = str(shutil.copy(first, tmp_path / "b.pth"))
    alone, features = evaluated(config(**{"MODEL.WEIGHTS": first}), tmp_path)
    both, joined = evaluated(config(**{"MODEL.WEIGHTS": first, "TEST.ENSEMBLE": [copy]}), tmp_path)
    width = features.values.shape[1]
    assert both.pop("strategies") == {"ensemble": [first, copy], "parts": [width, width]}
    assert both.keys() == alone.keys()
    for name, value in alone.items():
        assert both[name] == (pytest.approx(value) if isinstance(value, float) else value)
    assert torch.equal(joined.values, features.values.repeat(1, 2)) and joined.parts == (width, width)


def test_two_architectures_each_with_its_own_config(config: Callable[..., CfgNode], tmp_path: Path) -> None:
    one = checkpoint(config(), tmp_path / "a.pth")
    other = checkpoint(config(**RESNET), tmp_path / "b.pth", classes=7)
    strategies = {"TEST.MIXED_POOL.ENABLED": True, "TEST.LEAKY_RELU.ENABLED": True, "TEST.FLIP.ENABLED": True}
    _, of_one = evaluated(config(**{"MODEL.WEIGHTS": one}, **strategies), tmp_path)
    _, of_other = evaluated(config(**{"MODEL.WEIGHTS": other}, **RESNET, **strategies), tmp_path)
    beta = {"TEST.METRIC": "euclidean", "TEST.BETA_NORM.ENABLED": True, "TEST.BETA_NORM.BETA": 0.1}
    ensemble = config(**{"MODEL.WEIGHTS": one, "TEST.ENSEMBLE": [other]}, **strategies, **beta)
    results, joined = evaluated(ensemble, tmp_path)
    assert joined.parts == (128, 24) == (of_one.values.shape[1], of_other.values.shape[1])
    torch.testing.assert_close(joined.values, torch.cat([of_one.values, of_other.values], dim=1))
    assert results["strategies"] == {
        "mixed_pool": 0.5,
        "leaky_relu": 0.5,
        "ensemble": [one, other],
        "beta_norm": 0.1,
        "parts": [128, 24],
    }
    assert results["trained_on"] == list(ensemble.DATASETS.NAMES) and not results["transfer"]


def test_a_checkpoint_without_config_is_of_the_current_one(config: Callable[..., CfgNode], tmp_path: Path) -> None:
    one = checkpoint(config(), tmp_path / "a.pth")
    other = checkpoint(config(), tmp_path / "b.pth", with_config=False)
    _, joined = evaluated(config(**{"MODEL.WEIGHTS": one, "TEST.ENSEMBLE": [other]}), tmp_path)
    assert joined.parts == (128, 128)
    foreign = checkpoint(config(**RESNET), tmp_path / "c.pth", with_config=False)
    with pytest.raises(CheckpointError, match=r"c\.pth .* of another model"):
        evaluated(config(**{"MODEL.WEIGHTS": one, "TEST.ENSEMBLE": [foreign]}), tmp_path)


def test_images_that_cannot_be_read_are_left_out(config: Callable[..., CfgNode], market: Path, tmp_path: Path) -> None:
    one, other = (checkpoint(config(), tmp_path / name) for name in ("a.pth", "b.pth"))
    bad = sorted((market / "bounding_box_test").iterdir())[0]
    bad.write_bytes(b"no image")
    files = {"MODEL.WEIGHTS": one, "TEST.ENSEMBLE": [other]}
    with pytest.raises(Exception, match=bad.name):
        evaluated(config(**files), tmp_path)
    results, joined = evaluated(config(**files, **{"TEST.SKIP_UNREADABLE": True}), tmp_path)
    assert results["unreadable"] == [str(bad)] and str(bad) not in joined.paths


def test_what_is_wrong_with_the_files_is_told(config: Callable[..., CfgNode], tmp_path: Path) -> None:
    one = checkpoint(config(), tmp_path / "a.pth")
    link = tmp_path / "link.pth"
    link.symlink_to(one)
    for ensemble, error, message in (
        ([str(tmp_path / "gone.pth")], CheckpointError, r"no checkpoint .*gone\.pth"),
        ([one], ConfigError, r"a\.pth is there more than once"),
        ([str(link)], ConfigError, r"link\.pth is there more than once"),
    ):
        with pytest.raises(error, match=message):
            evaluated(config(**{"MODEL.WEIGHTS": one, "TEST.ENSEMBLE": ensemble}), tmp_path)
    refuse_ensemble(config())
    with pytest.raises(ConfigError, match=r"TEST\.ENSEMBLE .* with --eval-only"):
        refuse_ensemble(config(**{"TEST.ENSEMBLE": [one]}))


@pytest.mark.parametrize("text", ["{", "[]", "MODEL: {NO_SUCH_KEY: 1}"])
def test_a_config_that_cannot_be_used_is_named(config: Callable[..., CfgNode], text: str) -> None:
    with pytest.raises(ConfigError, match=r"config in b\.pth"):
        own_config(config(), {"config": text}, source="b.pth")


def test_the_own_config_keeps_what_the_evaluation_says(config: Callable[..., CfgNode]) -> None:
    saved = config("old", **RESNET, **{"PROJECTS": ["msinet"], "TEST.FLIP.ENABLED": True, "MODEL.DEVICE": "cuda"})
    current = config("new", **{"TEST.IMS_PER_BATCH": 3, "PROJECTS": ["adasp"]})
    merged = own_config(current, {"config": saved.dump()}, source="b.pth")
    assert merged.PROJECTS == ["msinet", "adasp"] and merged.MODEL.BACKBONE == saved.MODEL.BACKBONE
    assert merged.INPUT == saved.INPUT and merged.TEST == current.TEST and merged.DATASETS == current.DATASETS
    assert merged.OUTPUT_DIR == current.OUTPUT_DIR and merged.MODEL.DEVICE == "cpu"


@pytest.mark.parametrize(
    "option", [("TEST.MIXED_POOL.ENABLED", "True"), ("TEST.LEAKY_RELU.ENABLED", "True"), ("TEST.ENSEMBLE", "['b.pth']")]
)
def test_features_in_files_stay_as_they_are(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate_files(["a.npz", *option])
    assert f"error: {option[0]} is on, but features in files cannot" in capsys.readouterr().err
