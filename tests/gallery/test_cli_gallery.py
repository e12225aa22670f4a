"""`tools/gallery.py`, with a stand-in for the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gallery_data import Thumbnails, write_images
from PIL import Image

from fastreid_ext.engine.cli import gallery as module
from fastreid_ext.engine.cli.gallery import main
from fastreid_ext.gallery import AddingStopped, Gallery

ASKED: list[tuple[str, list[str]]] = []


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def predictor(source: str, *, device: str, options: Any) -> Thumbnails:
        ASKED.append((source, list(options)))
        return Thumbnails("b" if "TEST.FLIP.ENABLED" in options else Path(source).name)

    monkeypatch.setattr(module, "Predictor", predictor)
    monkeypatch.chdir(tmp_path)
    ASKED.clear()
    write_images(tmp_path / "images", 12)
    (tmp_path / "a").mkdir()


def failure(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 1
    return capsys.readouterr().err


def test_a_round_trip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["build", "a", "images", "--output", "g", "--layout", "market", "--half"])
    (query,) = write_images(tmp_path / "more", 1, seed=5)
    main(["search", "g", query, "--top", "3", "--json", "found.json"])
    (answer,) = json.loads(Path("found.json").read_text())
    assert answer["query"] == query and [hit["pid"] for hit in answer["found"]] == [1, 1, 1]
    # The model is where it was, from wherever it is asked for.
    assert ASKED[-1] == (str(tmp_path / "a"), [])

    capsys.readouterr()
    main(["add", "g", "more"])
    main(["search", "g", query, "images/0002_c2s1_00000001.png", "--top", "2", "--picture", "found.png"])
    printed = capsys.readouterr().out
    assert printed.index(query) < printed.index("0002_c2s1") and str(tmp_path / "more") in printed
    with Image.open("found.png") as sheet:
        assert sheet.width > 3 * 180 and sheet.height > 2 * 180
    main(["info", "g", "--json", "info.json"])
    facts = json.loads(Path("info.json").read_text())
    assert (facts["images"], facts["index"], facts["dtype"], facts["fingerprint"]) == (13, "flat", "float16", "a")
    main(["rebuild", "g", "--kind", "ivf"])
    main(["info", "g"])
    assert "ivf" in capsys.readouterr().out


def test_options_of_the_model_are_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    main(["build", "a", "images", "--output", "g", "TEST.FLIP.ENABLED", "True"])
    main(["search", "g", "images/0002_c2s1_00000001.png"])
    assert ASKED[-1][1] == ["TEST.FLIP.ENABLED", "True"]
    error = failure("search", "g", "images/0002_c2s1_00000001.png", "--model", "a", capsys=capsys)
    assert "model b, and this one is a" in error and "mean nothing" in error


def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no gallery in" in failure("info", "g", capsys=capsys)
    assert "no folder, image or table" in failure("build", "a", "nowhere", "--output", "g", capsys=capsys)
    # Before the model is loaded.
    assert not ASKED
    assert "no images in" in failure("build", "a", "a", "--output", "g", capsys=capsys)
    main(["build", "a", "images", "--output", "g"])
    assert "has a gallery: add to it" in failure("build", "a", "images", "--output", "g", capsys=capsys)
    assert "no such file" in failure("search", "g", "nobody.jpg", capsys=capsys)
    assert "--top is 0" in failure("search", "g", "images", "--top", "0", capsys=capsys)
    assert ".webp" in failure("search", "g", "images", "--picture", "found.gif", capsys=capsys)
    for words, message in ((["search", "g"], "expected GALLERY IMAGE"), (["find"], "invalid choice: 'find'")):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2 and message in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise AddingStopped

    monkeypatch.setattr(Gallery, "build", stopped)
    with pytest.raises(SystemExit) as stop:
        main(["build", "a", "images", "--output", "g"])
    assert stop.value.code == 130 and "gallery.py add goes on" in capsys.readouterr().err
