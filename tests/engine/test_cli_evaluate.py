"""`tools/evaluate.py` and `--save-features`, as a user runs them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import options
from test_cli import ROOT, TRAIN, run

from fastreid_ext.config import load_config
from fastreid_ext.engine.cli import evaluate, train
from fastreid_ext.engine.cli.evaluate import split_words
from fastreid_ext.engine.cli.feature_writer import FeatureWriter, file_stems
from fastreid_ext.evaluation import rank_metrics
from fastreid_ext.evaluation.feature_files import load_features, save_features
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.modeling import build_model

EVALUATE = ROOT / "tools" / "evaluate.py"


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: Path, seed: int = 0, **changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    """A user's file of 8 identities before 3 cameras, 5 images each."""
    rng = np.random.default_rng(seed)
    pids, camids = np.repeat(np.arange(8), 5), np.tile([0, 0, 1, 1, 2], 8)
    features = rng.normal(size=(8, 6))[pids] + rng.normal(size=(40, 6))
    arrays = {"features": features, "pids": pids, "camids": camids, "is_query": np.arange(40) % 5 == 0, **changes}
    arrays = {name: value for name, value in arrays.items() if value is not None}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return arrays


def evaluated(*arguments: object) -> dict[str, Any]:
    """Results of the program in this process; a new one takes seconds to start."""
    evaluate.main([*map(str, arguments), "--json", "results.json", "--device", "cpu"])
    results: dict[str, Any] = json.loads(Path("results.json").read_text())
    return results


def eval_only(data: Path, output: Path, **more: Any) -> list[str]:
    """Arguments for evaluating a model that nobody has trained."""
    given = [str(part) for part in options(data, output, **more)]
    output.mkdir(exist_ok=True)
    model = build_model(load_config("", [*given, "MODEL.HEADS.NUM_CLASSES", 1]))
    torch.save({"model": model.state_dict()}, output / "weights.pth")
    return [*given, "MODEL.WEIGHTS", str(output / "weights.pth")]


def test_a_users_file_is_ranked(tmp_path: Path) -> None:
    arrays = write(tmp_path / "mine.npz")
    words = ["mine.npz", "--json", "results.json", "--device", "cpu", "TEST.METRIC", "euclidean"]
    finished = run(*words, cwd=tmp_path, tool=EVALUATE)
    assert finished.returncode == 0, finished.stderr
    printed, results = finished.stdout, json.loads((tmp_path / "results.json").read_text())
    q = arrays["is_query"]
    features = arrays["features"].astype(np.float32)
    labels = (arrays["pids"][q], arrays["pids"][~q], arrays["camids"][q], arrays["camids"][~q])
    expected = rank_metrics(features[q], features[~q], *labels, metric="euclidean")
    metrics = results["mine"]
    assert metrics["mAP"] == pytest.approx(100 * expected.mAP)
    assert metrics["Rank-1"] == pytest.approx(100 * float(expected.cmc[0]))
    assert metrics["protocol"]["camera_rule"] is True and metrics["protocol"]["metric"] == "euclidean"
    assert re.search(r"\| mine +\| +[\d.]+", printed)
    assert "40 images, 6 dimensions, 8 queries, 32 in the gallery; camera rule" in printed


def test_several_files_in_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    for path in ("one.npz", "two.npz", "a/two.npz", "other.npz"):
        info = None if path == "other.npz" else '{"name": "Market1501"}'
        write(tmp_path / path, seed=len(path), info=info)
    results = evaluated("one.npz", "two.npz", "a/two.npz", "other.npz", "two.npz")
    printed = capsys.readouterr().out
    names = ["Market1501 (one.npz)", "Market1501 (two.npz)", "Market1501 (a/two.npz)", "other"]
    assert list(results) == names and all(name in printed for name in names)
    assert len({metrics["mAP"] for metrics in results.values()}) > 1


def test_separate_query_and_gallery(tmp_path: Path) -> None:
    arrays = write(tmp_path / "whole.npz")
    q = arrays.pop("is_query")
    for name, part in (("q", q), ("g", ~q)):
        np.savez(tmp_path / f"{name}.npz", **{key: value[part] for key, value in arrays.items()})
    results = evaluated("whole.npz", "--query", "q.npz", "--gallery", "g.npz")
    assert results["q in g"] == results["whole"]


def test_camera_rule_can_be_overruled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.npz")
    with_rule = evaluated("--camera-rule", "a.npz")
    without = evaluated("a.npz", "--no-camera-rule", "TEST.METRIC", "cosine")
    assert with_rule["a"]["protocol"]["camera_rule"] and not without["a"]["protocol"]["camera_rule"]
    assert with_rule["a"]["mAP"] != without["a"]["mAP"]
    write(tmp_path / "b.npz", camids=None)
    with pytest.raises(SystemExit, match="1"):
        evaluated("b.npz", "--camera-rule")
    assert "error: --camera-rule: b has no camids" in capsys.readouterr().err


def test_options_of_the_config_make_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.npz")
    results = evaluated("a.npz", "TEST.RERANK.ENABLED", "True", "TEST.RERANK.K1", "5", "TEST.RERANK.K2", "2")
    assert results["a"]["with"]["rerank"]["mAP"] != results["a"]["mAP"]
    assert re.search(r"\| a \+ rerank +\| +[\d.]+", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("gone.npz", 1, r"error: no feature file \S+gone.npz"),
        ("a.npz gone.safetensors", 1, r"error: no feature file \S+gone.safetensors"),
        ("a.npz b.pt", 1, r"error: 'b.pt' is neither a feature file, .* nor a config key, such as TEST.METRIC"),
        ("test.metric cosine", 1, r"error: 'test.metric' is neither"),
        ("a.npz TEST.METRIC cosine a.npz", 1, r"error: 'a.npz' stands where a config key is expected: name files befo"),
        ("a.npz TEST.METRC cosine", 1, r"error: unknown config key TEST.METRC .* Did you mean TEST.METRIC"),
        ("a.npz TEST.METRIC", 1, r"error: options come in pairs"),
        ("empty.npz", 1, r"error: empty.npz: not a whole .npz file"),
        ("", 2, r"no feature files given"),
        ("--query a.npz", 2, r"--query and --gallery come together"),
    ],
)
def test_errors_are_sentences(
    words: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.npz")
    (tmp_path / "empty.npz").touch()
    with pytest.raises(SystemExit, match=str(code)):
        evaluate.main(words.split())
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


def test_files_come_before_keys() -> None:
    assert split_words(["a.npz", "M.npz", "TEST.METRIC", "x.npz"]) == (["a.npz", "M.npz"], ["TEST.METRIC", "x.npz"])
    assert split_words(["a.npz", "a.npz", "SEED", "3"]) == (["a.npz"], ["SEED", "3"])
    assert split_words(["A.safetensors"]) == (["A.safetensors"], [])


def test_saved_features_give_the_models_figures(
    market_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other, output = market_folder(), market_folder("other", seed=5, cameras=3), tmp_path / "run"
    tests = {"DATASETS.TESTS": (f"MarketLayout:{data}", f"MarketLayout:{other}")}
    again = eval_only(data, output, **tests)
    train.main(["--eval-only", "--save-features", *again])
    by_model = json.loads((output / "results.json").read_text())
    files = sorted((output / "features").iterdir())
    assert [file.suffix for file in files] == [".npz", ".npz"]
    printed = capsys.readouterr().out
    assert all(str(file) in printed for file in files)
    assert evaluated(*files) == by_model and len(by_model) == 2
    # A folder of one's own, and the other format.
    train.main(["--eval-only", "--save-features", "mine", "--features-format", "safetensors", *again])
    for file in files:
        one, other_format = load_features(file), load_features(f"mine/{file.stem}.safetensors")
        assert torch.equal(one.values, other_format.values) and one.paths == other_format.paths


def test_two_processes_save_what_one_does(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    again = eval_only(market_folder(), tmp_path / "run")
    train.main(["--eval-only", "--save-features", "one", *again])
    finished = run("--eval-only", "--num-gpus", 2, "--save-features", "two", *again, cwd=tmp_path, tool=TRAIN)
    assert finished.returncode == 0, finished.stderr
    one, two = (load_features(file) for name in ("one", "two") for file in Path(name).iterdir())
    assert one.paths == two.paths and torch.equal(one.pids, two.pids)
    torch.testing.assert_close(one.values, two.values)


def test_saving_is_refused_while_training(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(["--save-features", "SOLVER.MAX_EPOCH", "1"])
    assert "--save-features goes with --eval-only" in capsys.readouterr().err


def test_file_names_are_safe_and_each_another() -> None:
    specs = [
        "Market1501",
        "CUHK03:labeled=False,protocol=classic",
        "MarketLayout:/my/folder",
        "MarketLayout:my folder",
        "marketlayout_my_folder",
        "../..",
        "MarketLayout:/" + 300 * "x",
        "MarketLayout:/" + 300 * "x" + "y",
        "Market1501",
    ]
    stems = file_stems(specs)
    assert stems["Market1501"] == "Market1501"
    assert stems[specs[1]] == "CUHK03_labeled=False_protocol=classic"
    assert stems[specs[2]] == "MarketLayout_my_folder" and stems[specs[3]] == "MarketLayout_my_folder_2"
    assert len({stem.casefold() for stem in stems.values()}) == len(set(specs))
    assert all(re.fullmatch(r"[\w=-][\w.=-]{0,159}", stem) for stem in stems.values())


def test_writer_writes_each_set_to_its_file(tmp_path: Path) -> None:
    write(tmp_path / "mine.npz")
    loaded = load_features(tmp_path / "mine.npz")
    writer = FeatureWriter(tmp_path / "out", ".npz", ["mine", "other"])
    writer(loaded)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.npz"]
    again = load_features(tmp_path / "out" / "mine.npz")
    assert isinstance(again, FeatureSet) and torch.equal(again.values, loaded.values)
    save_features(tmp_path / "copy.npz", again)
    assert (tmp_path / "copy.npz").read_bytes() == (tmp_path / "out" / "mine.npz").read_bytes()
