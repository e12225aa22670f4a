"""What a run says at its end."""

from fastreid_ext.config import load_config
from fastreid_ext.engine.cli.summary import summarise


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
