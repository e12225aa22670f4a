"""Runs whose model was never trained, and what the report's command line makes of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine.cli import train, visualize
from fastreid_ext.modeling import build_model
from fastreid_ext.report.payload import Payload

__all__ = ["failure", "features_of", "page", "write_run"]


def write_run(folder: Path, data: Path, *, seed: int = 0, **changes: Any) -> Path:
    """The folder of a run with config and last checkpoint; changes are config keys with `__` for dots."""
    values = {
        "DATASETS.NAMES": (f"MarketLayout:{data}",),
        "DATASETS.TESTS": (f"MarketLayout:{data}",),
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.NAME": "build_osnet_backbone",
        "MODEL.BACKBONE.DEPTH": "x0_25",
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.HEADS.NUM_CLASSES": 8,
        "INPUT.SIZE_TRAIN": [32, 16],
        "INPUT.SIZE_TEST": [32, 16],
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    cfg = load_config("", [part for pair in values.items() for part in pair])
    torch.manual_seed(seed)
    folder.mkdir()
    (folder / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
    torch.save({"model": build_model(cfg).state_dict(), "config": cfg.dump()}, folder / "model_final.pth")
    return folder


def page(*words: Any) -> Payload:
    """What is on the page that the program writes; few and quick things unless asked for."""
    visualize.main([*map(str, words), *([] if "--tsne" in words else ["--tsne", "0"])])
    html = Path("report.html").read_text(encoding="utf-8")
    match = re.search(r'<script[^>]*id="payload"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert match is not None
    payload: Payload = json.loads(match[1])
    return payload


def failure(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """What the program says when it refuses."""
    with pytest.raises(SystemExit) as ended:
        visualize.main([*map(str, words)])
    assert ended.value.code and not Path("report.html").exists()
    return capsys.readouterr().err


def features_of(run: Path, name: str = "features.npz", **changes: Any) -> str:
    """A feature file of a run's test set."""
    config, weights = run / "config.yaml", run / "model_final.pth"
    words = ["--config-file", str(config), "--eval-only", "--save-features", "saved"]
    train.main([*words, "MODEL.WEIGHTS", str(weights), "OUTPUT_DIR", "evaluated"])
    (saved,) = Path("saved").iterdir()
    arrays = dict(np.load(saved)) | changes
    np.savez(name, **{key: value for key, value in arrays.items() if value is not None})
    return name
