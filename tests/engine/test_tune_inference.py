"""The search for inference strategies as a program: an evaluation repeats its figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_runs import options

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.engine.cli import train, tune_inference
from fastreid_ext.engine.tuning.setting import Rerank, Setting
from fastreid_ext.modeling import build_model


@pytest.fixture
def data(market_folder: Callable[..., Path]) -> Path:
    return market_folder(train_ids=8, cameras=2, shots=2)


@pytest.mark.parametrize(
    "setting",
    [
        Setting(),
        Setting(0.4, 0.01, 0.2, Rerank(5, 2, 0.25), True),
        Setting(beta=0.0),
        Setting(rerank=Rerank(3, 1, 0.5)),
    ],
)
def test_a_setting_is_what_its_block_says(setting: Setting) -> None:
    cfg = load_config("")
    cfg.defrost()
    cfg.merge_from_mapping({"TEST": setting.options(cfg.TEST.METRIC)})
    assert Setting.from_config(cfg) == setting
    assert load_config("", ["TEST.METRIC", cfg.TEST.METRIC, "TEST.BETA_NORM.ENABLED", cfg.TEST.BETA_NORM.ENABLED])


def program(main: Callable[[Sequence[str]], None], arguments: Sequence[Any], code: int = 0) -> None:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        assert end.code == code
    else:
        assert code == 0


@pytest.fixture
def trained(data: Path, tmp_path: Path) -> list[str]:
    """Arguments that name a run, whose test set does not exist."""
    more = {"DATASETS.NAMES": (f"HeldOut:MarketLayout:{data},share=0.5",), "DATASETS.TESTS": ("MarketLayout:gone",)}
    cfg = load_config("", options(data, tmp_path / "run", **more))
    model = build_model(with_classes(cfg))
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict(), "config": cfg.dump()}, run / "model_final.pth")
    return ["--config-file", str(run / "config.yaml"), "MODEL.WEIGHTS", str(run / "model_final.pth")]


def with_classes(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    return cfg


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "settings.csv").open() as file:
        return list(csv.DictReader(file))


def test_an_evaluation_repeats_the_best_figure(
    trained: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tune_inference.main, ["--settings", 40, *trained])
    out = capsys.readouterr().out
    assert "has been trained on these identities" not in out
    assert "1 pass over the images" in out
    folder = tmp_path / "run" / "inference"
    rows = rows_of(folder)
    assert 40 <= len(rows) <= 46
    assert {name for row in rows for name in ("alpha", "slope", "beta", "k1") if row[name]} == {
        "alpha",
        "slope",
        "beta",
        "k1",
    }
    best = max(float(row["score"]) for row in rows)
    assert best == max(float(row["mAP"]) for row in rows)
    written = yaml.safe_load((folder / "inference.yml").read_text())
    assert written["_BASE_"] == "../config.yaml"
    held = f"HeldOut:MarketLayout:{data},share=0.5"
    weights = trained[-2:]
    arguments = ["--config-file", folder / "inference.yml", "--eval-only", *weights, "DATASETS.TESTS", f"('{held}',)"]
    program(train.main, arguments)
    figures = json.loads((folder / "results.json").read_text())[held]
    reranked = written["TEST"]["RERANK"]["ENABLED"]
    assert (figures["with"]["rerank"] if reranked else figures)["mAP"] == pytest.approx(best, abs=1e-4)


def test_the_seed_decides(trained: list[str], tmp_path: Path) -> None:
    texts = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / f"tuned{number}"
        program(tune_inference.main, ["--settings", 30, "--seed", seed, *trained, "OUTPUT_DIR", folder])
        texts.append((folder / "settings.csv").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_a_model_that_has_seen_the_identities_is_told_of(
    trained: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = ["DATASETS.NAMES", f"('MarketLayout:{data}',)", "OUTPUT_DIR", str(tmp_path / "tuned")]
    program(tune_inference.main, ["--settings", 3, "--share", 0.6, "--strategies", "flip,beta_norm", *trained, *whole])
    out = capsys.readouterr().out
    assert "has been trained on these identities" in out
    assert f'("HeldOut:MarketLayout:{data},share=0.6,seed=0",)' in out
    written = yaml.safe_load((tmp_path / "tuned" / "inference.yml").read_text())
    assert written["_BASE_"] == str(tmp_path / "run" / "config.yaml")
    assert not any(row["alpha"] or row["k1"] for row in rows_of(tmp_path / "tuned"))


def test_an_interrupt_leaves_what_was_found(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = tune_inference.SettingScore.__call__
    calls = []

    def interrupted(self: Any, setting: Setting) -> Any:
        calls.append(setting)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return score(self, setting)

    monkeypatch.setattr(tune_inference.SettingScore, "__call__", interrupted)
    program(tune_inference.main, ["--settings", 30, *trained], code=130)
    folder = tmp_path / "run" / "inference"
    assert len(rows_of(folder)) == 5
    assert "TEST" in yaml.safe_load((folder / "inference.yml").read_text())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["TEST.ENSEMBLE", "('a.pth',)"], "TEST.ENSEMBLE"),
        (["MODEL.WEIGHTS", ""], "MODEL.WEIGHTS"),
        (["TEST.BEST_METRIC", "Recall@1"], "choose one of mAP"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    more: list[str], said: str, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    program(tune_inference.main, [*trained, *more], code=1)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--settings", "0"), ("--strategies", "flip,flap")])
def test_wrong_options(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    program(tune_inference.main, [option, value], code=2)
    assert option in capsys.readouterr().err
