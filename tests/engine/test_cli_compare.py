"""The command line that compares two images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fastreid_ext.engine.cli import compare
from fastreid_ext.inference import Embedder, ModelCard, Predictor


class Colours(Embedder):
    """The mean colour of an image."""

    def __init__(self, metric: Any) -> None:
        card = ModelCard(fingerprint="c0105", size=(16, 16), dim=3, metric=metric)
        super().__init__(card, source="colours", device=torch.device("cpu"))

    def embed(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3))


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models named "cosine" and "euclidean"."""
    monkeypatch.setattr(compare, "Predictor", lambda model, **_: Predictor(Colours(model)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A list of images of four identities, each of its own colour; two of them are 0.png and 4.png."""
    rng, rows = np.random.default_rng(0), ["path,pid,camid,split"]
    colours = rng.integers(0, 256, (4, 3))
    for number in range(12):
        pixels = np.clip(colours[number % 4] + rng.integers(-9, 9, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number % 4},{number % 3},{'query' if number < 4 else 'gallery'}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path


def call(*words: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        compare.main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_two_images_and_a_verdict(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare.main(["cosine", str(data / "0.png"), str(data / "0.png")])
    assert capsys.readouterr().out == "cosine similarity: 1\n"
    threshold = data / "threshold.json"
    compare.main(
        ["cosine", "--calibrate", f"ImageList:{data / 'list.csv'}", "--fpr", "0.1", "--output", str(threshold)]
    )
    out = capsys.readouterr().out
    assert out.startswith("threshold: cosine similarity 0.") and "of 24 impostor pairs and 100.0% of 8 genuine" in out
    assert json.loads(threshold.read_text())["fpr"] == 0.1
    for other, verdict in (("4.png", "same: the threshold is 0."), ("1.png", "different: the threshold is 0.")):
        compare.main(["cosine", str(data / "0.png"), str(data / other), "--threshold", str(threshold)])
        assert verdict in capsys.readouterr().out


def test_the_metric_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare.main(["euclidean", str(data / "0.png"), str(data / "1.png"), "TEST.METRIC", "euclidean"])
    assert capsys.readouterr().out.startswith("negative squared Euclidean distance: -")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cosine", "{data}/0.png", "{data}/none.png"], "none.png: no such file"),
        (["cosine", "{data}/0.png", "{data}"], "is a folder: compare one image with one"),
        (["cosine", "{data}/0.png", "{data}/1.png", "--threshold", "{data}/list.csv"], "list.csv is no threshold"),
        (["cosine", "--calibrate", "NoSuchSet"], "NoSuchSet"),
        (["cosine", "--calibrate", "ImageList:{data}/list.csv", "--fpr", "2"], "lies between 0 and 1"),
    ],
)
def test_what_users_can_mend(data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert call(*[word.format(data=data) for word in words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cosine", "a.png"], "name a model and two images"),
        (["--calibrate", "Market1501"], "name a model"),
        (["cosine", "--calibrate", "Market1501", "--threshold", "a.json"], "take one of them"),
    ],
)
def test_words_that_make_no_sense(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert call(*words) == 2
    assert message in capsys.readouterr().err
