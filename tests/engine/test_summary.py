"""What a run says at its end."""

import shlex
from pathlib import Path

import pytest
from documents import check_command, program

from fastreid_ext.config import load_config
from fastreid_ext.engine.cli.commands import command
from fastreid_ext.engine.cli.summary import summarise

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line[18:]) for line in text.splitlines() if line[18:].startswith(("python ", "fastreid-ext-"))]


def test_summary_names_unreadable_images_and_the_next_command() -> None:
    cfg = load_config("", ["OUTPUT_DIR", "logs/mine"])
    metrics = {"mAP": 12.34, "mINP": 1.0, "Rank-1": 20.0, "Rank-5": 30.0, "Rank-10": 40.0}
    text = summarise(cfg, {"SynthReID": metrics}, None, {"b.jpg": "not an image", "a.jpg": "the file is empty"})
    assert "| SynthReID  |  12.3 |" in text
    assert (
        "2 training images could not be read and were replaced by others:\n  a.jpg: the file is empty\n  b.jpg" in text
    )
    assert "--config-file logs/mine/config.yaml --eval-only MODEL.WEIGHTS logs/mine/model_final.pth" in text
    assert "could not be read" not in summarise(cfg, {}, None, {})


def test_folders_with_spaces_and_quotes_survive_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(TOOLS / "train_net.py")])
    folder = "logs/my runs/it's $HOME"
    found = commands(summarise(load_config("", ["OUTPUT_DIR", folder]), {}, None, {}))
    assert {Path(words[1]).name for words in found} == {"train_net.py", "visualize.py", "export.py", "gallery.py"}
    assert all(words[0] == "python" and Path(words[1]).is_file() for words in found)
    assert all(any(word.startswith(folder) for word in words) for words in found)


def test_an_installed_toolbox_names_its_console_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/local/bin/fastreid-ext-train", "--resume"])
    assert command("train_net", "--list") == "fastreid-ext-train --list"
    assert command("tune_inference") == "fastreid-ext-tune-inference"
    setup = (TOOLS.parent / "setup.cfg").read_text(encoding="utf-8")
    for words in commands(summarise(load_config(""), {}, None, {})):
        assert f"{words[0]} = " in setup


def test_without_test_sets_there_is_nothing_to_evaluate() -> None:
    text = summarise(load_config("", ["DATASETS.TESTS", ()]), {}, None, {})
    assert "--eval-only" not in text and "visualize" not in text and "export" in text


def test_what_ranks_no_gallery_is_not_looked_at_as_one() -> None:
    text = summarise(
        load_config(
            "", ["TEST.EVALUATOR", "ClasEvaluator", "TEST.BEST_METRIC", "Acc@1", "MODEL.HEADS.NAME", "ClasHead"]
        ),
        {},
        None,
        {},
    )
    assert "--eval-only" in text and "export" in text
    assert "visualize" not in text and "gallery" not in text


def test_the_commands_are_ones_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tools/train_net.py"])
    monkeypatch.chdir(TOOLS.parent)
    found = commands(summarise(load_config("", ["OUTPUT_DIR", "logs/a run"]), {}, None, {}))
    assert len(found) == 4
    for words in found:
        known = program(words)
        assert known is not None
        check_command(*known, monkeypatch)
