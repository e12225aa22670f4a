"""What a report cannot show, or only in part."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from untrained_runs import failure, features_of, page

from fastreid_ext.engine.cli import visualize
from fastreid_ext.evaluation.feature_files import load_features

Run = Callable[..., Path]


def test_what_is_missing_is_told(make_run: Run, data: Path) -> None:
    file = features_of(make_run())
    # No image of the first identity in the gallery counts, the others have theirs.
    features = load_features(file)
    gallery = features.trials[0][1]
    pids = features.pids.clone()
    pids[gallery[pids[gallery] == pids.unique()[0]]] = -1
    for path in sorted((data / "query").iterdir())[:2]:
        path.write_bytes(b"no image")
    values = {**dict(np.load(file)), "pids": pids.numpy()}
    values |= {f"{split}_1": values[f"{split}_0"] for split in ("query", "gallery")}
    np.savez("mine.npz", **values)
    payload = page("mine.npz", "--activations", 0)
    assert sum(query["ap"] is None for query in payload["models"][0]["queries"]) == 3
    trials, unmatched, unreadable = payload["notes"]
    assert "averages of 2 trials" in trials and "3 queries have no match" in unmatched
    assert unreadable.startswith("2 of the ") and "images shown cannot be read" in unreadable


def test_unreadable_images_of_a_test_set(make_run: Run, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    next((data / "bounding_box_test").iterdir()).write_bytes(b"")
    assert "1 test images cannot be read" in failure(capsys, run, "--tsne", "0")
    assert "1 images of the test set cannot be read" in page(run, "TEST.SKIP_UNREADABLE", True)["notes"][0]


def test_what_cannot_be_shown_is_told_first(make_run: Run, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    assert "name one model, or two" in failure(capsys)
    assert "name one model, or two" in failure(capsys, run, run, run)
    assert "the name of the page ends in .html" in failure(capsys, run, "--output", "page.pdf")
    (data / "file").write_bytes(b"")
    assert "page.html cannot be written" in failure(capsys, run, "--output", data / "file" / "page.html")
    assert "0 is below 1" in failure(capsys, run, "--queries", "0")
    assert "no checkpoint" in failure(capsys, "nowhere.pth")
    assert "not the folder of a run" in failure(capsys, data)
    assert "no feature file" in failure(capsys, "nowhere.npz")
    assert "TEST.METRIK" in failure(capsys, run, "TEST.METRIK", "cosine")
    assert "unknown data set" in failure(capsys, run, "--test-set", "Mine")
    assert "Market1501" in failure(capsys, run, "--test-set", f"Market1501:{data}")
    assert "TEST.ENSEMBLE names several models" in failure(capsys, run, "TEST.ENSEMBLE", "('a.pth',)")
    classes = ["TEST.EVALUATOR", "ClasEvaluator", "MODEL.HEADS.NAME", "ClasHead", "TEST.BEST_METRIC", "Acc@1"]
    assert "ClasEvaluator ranks no gallery" in failure(capsys, run, *classes)
    assert "k1" in failure(capsys, run, "TEST.RERANK.ENABLED", "True", "TEST.RERANK.K1", "500")


def test_files_that_do_not_fit(make_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    file = features_of(make_run())
    values = dict(np.load(file))

    def refused(name: str, **changes: Any) -> str:
        arrays = {key: value for key, value in {**values, **changes}.items() if value is not None}
        np.savez(name, **arrays)
        return failure(capsys, file, name, "--tsne", "0")

    assert "a report shows images" in refused("bare.npz", paths=None)
    assert "features.npz has 15 queries, b.npz 14" in refused("b.npz", query_0=values["query_0"][:-1])
    camids = values["camids"].copy()
    camids[values["gallery_0"][3]] += 1
    assert "number 4 of the gallery images (file, pid, camera) is" in refused("c.npz", camids=camids)
    info = json.dumps({**json.loads(str(values["info"])), "protocol": {"camera_rule": False}})
    assert "their test sets have other rules" in refused("d.npz", info=np.array(info))
    assert "--test-set is for models" in failure(capsys, file, "--test-set", "Market1501")
    np.savez("moved.npz", **{**values, "paths": np.char.add("elsewhere", values["paths"])})
    assert "none of the 45 images can be read" in failure(capsys, "moved.npz", "--tsne", "0")


def test_the_extra_is_asked_for_first(
    make_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    said = failure(capsys, run, "--tsne", 10)
    assert "pip install 'fastreid_ext[viz]'" in said and "--tsne 0" in said
    assert page(run)["models"][0]["tsne"] is None
    visualize.main([str(run)])
    told = capsys.readouterr()
    assert "There is no t-SNE" in told.out + told.err
    assert "pip install 'fastreid_ext[viz]'" in Path("report.html").read_text(encoding="utf-8")


def test_few_images_have_no_tsne(make_run: Run) -> None:
    payload = page(make_run(), "--tsne", 3)
    assert payload["models"][0]["tsne"] is None
    assert "has no t-SNE" in payload["notes"][0]


def test_one_identity_has_no_curves(make_run: Run) -> None:
    file = features_of(make_run())
    pids = np.load(file)["pids"]
    np.savez("mine.npz", **{**np.load(file), "pids": np.ones_like(pids)})
    payload = page("mine.npz")
    assert payload["models"][0]["curves"] is None and payload["models"][0]["figures"]["mAP"] == 100
    assert "has no curves: there is no impostor pair" in payload["notes"][0]


def test_cameras_that_are_not_known(make_run: Run) -> None:
    file = features_of(make_run())
    values = dict(np.load(file))
    protocol = json.dumps({"protocol": {"camera_rule": False}})
    np.savez("mine.npz", **{**values, "camids": np.zeros_like(values["camids"]), "info": np.array(protocol)})
    assert {camera for _, _, camera in page("mine.npz")["images"]} == {-1}
    assert {camera for _, _, camera in page(file)["images"]} == {0, 1, 2}


def test_a_large_page_is_warned_of(
    make_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(visualize, "_LARGE", 1000)
    page(make_run(), "--columns", 1)
    said = "".join(capsys.readouterr())
    assert "written: report.html, 0." in said and "fewer --queries" in said
