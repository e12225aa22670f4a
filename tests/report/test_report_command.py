"""`tools/visualize.py`, as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from untrained_runs import failure, features_of, page

from fastreid_ext.engine.cli import train
from fastreid_ext.evaluation.feature_files import load_features, save_features
from fastreid_ext.export import export_model
from fastreid_ext.inference.checkpoint_embedder import CheckpointEmbedder

Run = Callable[..., Path]


RERANK = ["TEST.RERANK.ENABLED", "True", "TEST.RERANK.K1", "5", "TEST.RERANK.K2", "2", "TEST.AQE.ENABLED", "True"]


@pytest.mark.parametrize(
    "options", [[], ["TEST.METRIC", "euclidean", "TEST.FLIP.ENABLED", "True", *RERANK, "TEST.ROC.ENABLED", "True"]]
)
def test_figures_are_those_of_the_evaluation(make_run: Run, options: list[str]) -> None:
    run = make_run()
    payload = page(run, *options)
    config, weights = run / "config.yaml", run / "model_final.pth"
    words = ["--config-file", str(config), "--eval-only", "MODEL.WEIGHTS", str(weights), "OUTPUT_DIR", "evaluated"]
    train.main([*words, *options])
    (results,) = json.loads(Path("evaluated/results.json").read_text()).values()
    expected = results["with"]["aqe+rerank"] if options else results
    (model,) = payload["models"]
    assert {name: expected[name] for name in model["figures"]} == model["figures"]
    assert {"mAP", "mINP", "Rank-1", "Rank-5", "Rank-10"} <= set(model["figures"])
    assert model["curves"] is not None
    assert 100 * model["curves"]["cmc"][0] == pytest.approx(expected["Rank-1"], abs=1e-3)
    precisions = [query["ap"] for query in model["queries"]]
    assert 100 * float(np.mean(precisions)) == pytest.approx(expected["mAP"], abs=0.01)
    assert (model["metric"], model["ranking"]) == (
        ("re-ranked distance", "AQE + rerank") if options else ("cosine distance", "")
    )


def test_queries_images_and_maps(make_run: Run) -> None:
    payload = page(make_run(), "--columns", 4, "--activations", 6, "--tsne", 30)
    (model,) = payload["models"]
    assert (model["name"], len(model["fingerprint"])) == ("run/model_final", 16)
    assert len(model["queries"]) == 15 and all(len(query["results"]) == 4 for query in model["queries"])
    for query in model["queries"]:
        _, pid, camera = payload["images"][query["image"]]
        for image, _, right in query["results"]:
            path, other, elsewhere = payload["images"][image]
            assert (
                right == (other == pid)
                and (other, elsewhere) != (pid, camera)
                and path.startswith("bounding_box_test/")
            )
    assert model["tsne"] is not None and len(model["tsne"]["images"]) == 30
    assert {min(model["tsne"]["x"]), max(model["tsne"]["y"])} == {0, 1}
    assert [each["picture"] for each in payload["activations"]] == list(range(6))
    worst = min(model["queries"], key=lambda query: query["ap"] or 0)
    assert payload["activations"][0]["image"] == worst["image"]
    assert payload["made"].endswith("--columns 4 --activations 6 --tsne 30")
    assert payload["notes"] == []


def test_two_models_side_by_side(make_run: Run) -> None:
    first, second = make_run("first"), make_run("second", seed=1, TEST__METRIC="euclidean")
    payload = page(first, second / "model_final.pth", "--queries", 6, "--activations", 3)
    names = ["first/model_final", "second/model_final"]
    assert [model["name"] for model in payload["models"]] == names
    assert [model["metric"] for model in payload["models"]] == ["cosine distance", "squared Euclidean distance"]
    own, other = ([query["image"] for query in model["queries"]] for model in payload["models"])
    assert own == other and len(own) == 6
    assert [each["model"] for each in payload["activations"]] == [0, 0, 0, 1, 1, 1]
    assert payload["activations"][0]["image"] == payload["activations"][3]["image"]
    assert ["6 of 15 queries" in note for note in payload["notes"]] == [True]


def test_a_feature_file_and_its_model_show_the_same(make_run: Run) -> None:
    run = make_run()
    file = features_of(run)
    # The same images in another order.
    features = load_features(file)
    values = dict(np.load(file))
    back = torch.arange(len(features.values)).flip(0).numpy()
    for name in ("features", "pids", "camids", "paths"):
        values[name] = values[name][back]
    for name in ("query_0", "gallery_0"):
        values[name] = len(back) - 1 - values[name]
    np.savez("turned.npz", **values)
    payload = page(run, "turned.npz")
    from_model, from_file = payload["models"]
    assert from_model["figures"] == pytest.approx(from_file["figures"]) and from_file["fingerprint"] == ""
    own, other = ([[i for i, _, _ in query["results"]] for query in each["queries"]] for each in payload["models"])
    assert own == other
    assert [note for note in payload["notes"] if "turned.npz has no activation maps" in note] == payload["notes"]
    assert {each["model"] for each in payload["activations"]} == {0}


def test_a_safetensors_of_features(make_run: Run, tmp_path: Path) -> None:
    features = load_features(features_of(make_run()))
    save_features(tmp_path / "mine.safetensors", features)
    assert page("mine.safetensors")["models"][0]["name"] == "mine.safetensors"


def test_an_exported_model_is_told_its_test_set(make_run: Run, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    export_model(CheckpointEmbedder.load(run / "model_final.pth", device="cpu"), "mine.safetensors")
    assert "which knows no test set: name one" in failure(capsys, "mine.safetensors")
    next((data / "bounding_box_test").iterdir()).write_bytes(b"")
    words = ["--test-set", f"MarketLayout:{data}", "TEST.SKIP_UNREADABLE", True]
    payload = page(run, "mine.safetensors", *words)
    checkpoint, exported = payload["models"]
    assert checkpoint["figures"] == pytest.approx(exported["figures"], abs=0.5)
    assert checkpoint["fingerprint"] == exported["fingerprint"]
    assert [note.partition(" ")[0] for note in payload["notes"]] == [
        "run/model_final:",
        "mine.safetensors:",
        "mine.safetensors",
    ]


def test_an_exported_model_takes_the_test_set_of_the_run_beside_it(make_run: Run) -> None:
    run = make_run()
    export_model(CheckpointEmbedder.load(run / "model_final.pth", device="cpu"), "mine.safetensors")
    payload = page("mine.safetensors", run, "--activations", 0)
    exported, checkpoint = payload["models"]
    assert (exported["name"], checkpoint["name"]) == ("mine.safetensors", "run/model_final")
    assert checkpoint["figures"] == pytest.approx(exported["figures"], abs=0.5)


def test_models_of_one_name_are_told_apart(make_run: Run, tmp_path: Path) -> None:
    for setting in ("a", "b"):
        (tmp_path / setting).mkdir()
    first, second = make_run("a/seed0"), make_run("b/seed0", seed=1)
    file = features_of(first, "a/mine.npz")
    Path("b/mine.npz").write_bytes(Path(file).read_bytes())
    quick = ("--activations", 0)
    names = [model["name"] for model in page(first, second, *quick)["models"]]
    assert names == ["a/seed0/model_final", "b/seed0/model_final"]
    assert [model["name"] for model in page("a/mine.npz", "b/mine.npz", *quick)["models"]] == [
        "a/mine.npz",
        "b/mine.npz",
    ]
    assert [model["name"] for model in page(file, file, *quick)["models"]] == ["mine.npz (1)", "mine.npz (2)"]
