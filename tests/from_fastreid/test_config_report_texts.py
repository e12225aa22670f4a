"""What reports on configs of FastReID say in words, headings and modern forms."""

from pathlib import Path

import pytest

from fastreid_ext.compat.config_report import explain, mistakes_model, report
from fastreid_ext.compat.config_report.differences_training import data_of_the_defaults
from fastreid_ext.compat.config_report.network import Network
from fastreid_ext.compat.config_report.old_config import read_old_config
from fastreid_ext.compat.config_report.timeline import timeline


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the time of building it."""
    monkeypatch.setattr(mistakes_model, "build_network", lambda *_, **__: Network({}))


def write(folder: Path, text: str) -> Path:
    path = folder / "old.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_modern_form_keeps_nothing_of_losses_and_freezes_that_are_not(tmp_path: Path) -> None:
    options = ["MODEL.LOSSES.TRI.MARGIN", "-1.0", "SOLVER.FREEZE_ITERS", "9"]
    text = explain(write(tmp_path, ""), options).modern
    assert "TRI" not in text and "FREEZE" not in text
    text = explain(
        write(tmp_path, ""),
        ["MODEL.META_ARCHITECTURE", "MGN", "MODEL.LOSSES.NAME", "('TripletLoss', 'CircleLoss')", *options],
    ).modern
    assert "MARGIN: 0.0" in text and "Circle" not in text


@pytest.mark.parametrize("published", [False, True])
def test_images_and_iterations_are_those_of_here(published: bool, tmp_path: Path) -> None:
    told = explain(write(tmp_path, ""), ["DATASETS.NAMES", "('MSMT17',)"], published=published)
    if published:
        expected = ("(30,248 images of 1,041 identities)", "; 472 an epoch", "= 56,640 iterations;", "= 2.1 epochs;")
    else:
        expected = (
            "(32,621 images of 1,041 identities; FastReID: 30,248 images)",
            "; 509 an epoch (FastReID: 472 an epoch)",
            "= 61,080 iterations (FastReID: 56,640 iterations);",
            "= 2.0 epochs (FastReID: 2.1 epochs);",
        )
    for topic, text in zip(("Data", "Batches", "Training", "Rate"), expected, strict=True):
        assert text in told.words[topic]
    times = timeline(told.old)
    assert times is not None and times.steps_per_epoch == 472


def test_defaults_that_are_ours_are_named(tmp_path: Path) -> None:
    first, second = data_of_the_defaults(read_old_config(write(tmp_path, "")))
    assert (first.key, second.key) == ("DATASETS.NAMES", "DATASETS.TESTS")
    assert "Market1501, ours SynthReID" in first.text and first.as_fastreid == {"DATASETS.NAMES": ("Market1501",)}


def test_refused_value_is_shown(tmp_path: Path) -> None:
    text = report(explain(write(tmp_path, "SOLVER: {MAX_EPOCH: many}")))
    assert "  SOLVER.MAX_EPOCH many\n" in text and "takes an int" in text


def test_size_that_leaves_images_as_they_are(tmp_path: Path) -> None:
    explanation = explain(write(tmp_path, "INPUT: {SIZE_TRAIN: [0,]}"))
    assert "as they are" in report(explanation) and "INPUT.SIZE_TRAIN is [0]" in explanation.not_here[0]
    assert not [finding for finding in explanation.mistakes if finding.key == "INPUT.SIZE_TEST"]
