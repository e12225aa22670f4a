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
    assert "error: b.npz: --camera-rule: b has no camids\n" in capsys.readouterr().err
    write(tmp_path / "c.npz", camids=np.arange(40) % 3 - 1)
    with pytest.raises(SystemExit, match="1"):
        evaluated("c.npz", "--camera-rule")
    assert "--camera-rule: c has no camids of 14 of 40 images (they are -1)" in capsys.readouterr().err
    write(tmp_path / "d.npz", camids=np.zeros(40, dtype=int))
    with pytest.raises(SystemExit, match="1"):
        evaluated("d.npz", "--camera-rule")
    assert "--camera-rule: all camids of d are the same" in capsys.readouterr().err


def test_the_camera_rule_of_one_side_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "q.npz", camids=None)
    write(tmp_path / "g.npz", seed=1)
    with pytest.raises(SystemExit, match="1"):
        evaluated("--query", "q.npz", "--gallery", "g.npz", "--camera-rule")
    assert "has no camids of 40 of 80 images" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["", "--no-camera-rule"])
def test_one_file_as_query_and_gallery(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "all.npz", is_query=None, camids=np.arange(40) % 3 if words else None)
    with pytest.raises(SystemExit, match="1"):
        evaluated("--query", "all.npz", "--gallery", "all.npz", *words.split())
    assert "every image would find itself. Give one file alone" in capsys.readouterr().err
    assert evaluated("all.npz", *words.split())["all"]["Rank-1"] < 100


def test_files_that_fail_do_not_discard_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "good.npz")
    write(tmp_path / "small.npz", pids=np.zeros(3, dtype=int))
    write(tmp_path / "alone.npz", pids=np.arange(40))
    write(tmp_path / "other.npz", seed=1)
    with pytest.raises(SystemExit, match="1"):
        evaluated("good.npz", "./small.npz", "alone.npz", "other.npz")
    printed = capsys.readouterr()
    assert list(json.loads(Path("results.json").read_text())) == ["good", "other"]
    assert re.search(r"\| good +\| +[\d.]+", printed.out) and re.search(r"\| other +\| +[\d.]+", printed.out)
    assert "error: 2 of 4 files cannot be evaluated:\n  small.npz: pids must be 40 integers" in printed.err
    assert re.search(r"\n  alone.npz: [^\n]+\n$", printed.err)
    Path("results.json").unlink()
    with pytest.raises(SystemExit, match="1"):
        evaluated("small.npz")
    assert capsys.readouterr().err.startswith("error: small.npz: pids must be") and not Path("results.json").exists()


def test_flip_is_for_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.npz")
    with pytest.raises(SystemExit, match="1"):
        evaluated("a.npz", "TEST.FLIP.ENABLED", "True")
    assert "error: TEST.FLIP.ENABLED is on, but features in files cannot be averaged" in capsys.readouterr().err
    assert not Path("results.json").exists()
    # A training's own config describes how its features were extracted.
    Path("run.yaml").write_text("TEST: {FLIP: {ENABLED: True}}\n")
    assert evaluated("--config-file", "run.yaml", "a.npz") == evaluated("a.npz", "TEST.FLIP.ENABLED", "False")


def test_results_that_cannot_be_written_are_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: object) -> None:
        raise AssertionError

    write(tmp_path / "a.npz")
    monkeypatch.setattr(evaluate, "load_features", work)
    for path, message in ((".", "it is a folder, name a file"), ("a.npz/r.json", "cannot be written: .*a.npz")):
        with pytest.raises(SystemExit, match="1"):
            evaluate.main(["a.npz", "--json", path, "--device", "cpu"])
        assert re.search(f"error: --json {path}:? {message}", capsys.readouterr().err)


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
        ("TEST.METRIC cosine a.npz", 1, r"error: 'a.npz' stands where a config key is expected: name files before"),
        ("TEST.METRIC cosine", 1, r"error: no feature files given before TEST.METRIC: files come first"),
        ("GONE.NPZ", 1, r"error: no feature file \S+GONE.NPZ"),
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
    assert split_words(["UP.NPZ", "SEED", "3"]) == (["UP.NPZ"], ["SEED", "3"])


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
    # Files do not say what the model was trained on.
    assert [(f.pop("trained_on"), f.pop("transfer")) for f in by_model.values()] == [
        ([f"MarketLayout:{data}"], False),
        ([f"MarketLayout:{data}"], True),
    ]
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


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("--eval-only SEED 3 --save-features mine", "--save-features"),
        ("--eval-only SEED --save-features 3", "--save-features"),
        ("--save-features SEED 3 --eval-only", "--eval-only"),
        ("SEED 3 --config-file=a.yaml", "--config-file"),
    ],
)
def test_options_behind_the_first_key(words: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(words.split())
    assert f"error: options such as {option} go before the first KEY" in capsys.readouterr().err


def test_evaluation_needs_test_sets(
    market_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = market_folder(), tmp_path / "run"
    again = eval_only(data, output)
    (output / "results.json").write_text("kept")
    for tests, message in (
        ("()", "error: DATASETS.TESTS is empty: there is nothing to evaluate on"),
        (f"('MarketLayout:{data}', 'MarketLayout:{data}')", f"DATASETS.TESTS names MarketLayout:{data} twice"),
    ):
        with pytest.raises(SystemExit, match="1"):
            train.main(["--eval-only", *again, "DATASETS.TESTS", tests])
        assert message in capsys.readouterr().err
    assert (output / "results.json").read_text() == "kept"


def test_a_test_set_that_fails_does_not_discard_the_others(
    market_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, bad, output = market_folder(), market_folder("bad", seed=5), tmp_path / "run"
    image = sorted((bad / "bounding_box_test").iterdir())[0]
    image.write_bytes(image.read_bytes()[:200])
    again = eval_only(data, output, **{"DATASETS.TESTS": (f"MarketLayout:{bad}", f"MarketLayout:{data}")})
    with pytest.raises(SystemExit, match="1"):
        train.main(["--eval-only", *again])
    printed = capsys.readouterr()
    assert list(json.loads((output / "results.json").read_text())) == [f"MarketLayout:{data}"]
    assert re.search(rf"\| MarketLayout:{data} +\| +[\d.]+", printed.out)
    assert f"error: 1 of 2 data sets cannot be evaluated:\n  MarketLayout:{bad}: 1 test images" in printed.err


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
