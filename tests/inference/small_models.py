"""Models that are small, untrained, and saved as a training saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from batch_norms import randomize_batch_norms
from PIL import Image
from torch import nn

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.modeling import build_model

SIZE = (32, 16)
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPooling",
    "INPUT.SIZE_TEST": list(SIZE),
}


def small_config(options: dict[str, Any] | None = None) -> CfgNode:
    return load_config("", [part for pair in {**SMALL, **(options or {})}.items() for part in pair])


def small_model(cfg: CfgNode, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = 7
    model = build_model(cfg)
    randomize_batch_norms(model)
    return model.eval()


def save_checkpoint(path: Path, cfg: CfgNode, model: nn.Module) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "config": cfg.dump()}, path)
    return path


def draw_images(folder: Path, count: int = 7) -> list[Path]:
    """JPEG and PNG files of several sizes and modes, in folders."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        height, width = ((32, 16), (45, 20), (20, 30))[number % 3]
        smooth = Image.fromarray(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)).resize((width, height))
        path = folder / f"camera{number % 2}" / f"{number}.{('jpg', 'png')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        (smooth.convert("L") if number == 3 else smooth).save(path)
        paths.append(path)
    return paths
