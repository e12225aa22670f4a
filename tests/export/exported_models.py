"""A model that is traced in a second, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from batch_norms import randomize_batch_norms
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.inference import CheckpointEmbedder
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.backbones import BACKBONES

SIZE, CROP, WIDTH, CLASSES = (20, 14), (16, 12), 24, 5000
OPTIONS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "BackboneOfExportTests",
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "INPUT.SIZE_TEST": list(SIZE),
    "INPUT.CROP.ENABLED": True,
    "INPUT.CROP.SIZE": list(CROP),
    "TEST.FLIP.ENABLED": True,
}


class Twice(nn.Module):
    """The part that tests exchange for others."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@BACKBONES.register("BackboneOfExportTests")
def tiny_backbone(cfg: CfgNode) -> nn.Module:
    """Two convolutions."""
    layers: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        Twice(),
        nn.Conv2d(8, WIDTH, 3, padding=1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
    )
    layers.feature_dim = WIDTH
    return layers


def config(**more: Any) -> CfgNode:
    """Of the tiny model; keyword arguments are keys with `__` for dots."""
    options = {**OPTIONS, "MODEL.HEADS.NUM_CLASSES": CLASSES}
    options |= {key.replace("__", "."): value for key, value in more.items()}
    return load_config("", [part for pair in options.items() for part in pair])


def tiny_model(cfg: CfgNode) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(cfg)
    randomize_batch_norms(model)
    return model.eval()


def embedder(part: nn.Module | None = None) -> CheckpointEmbedder:
    """Of the tiny model, with another part in the middle of its backbone."""
    cfg = config()
    model: Any = tiny_model(cfg)
    if part is not None:
        model.backbone[3] = part
    return CheckpointEmbedder(cfg, model)


def checkpoint(path: Path, cfg: CfgNode) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": tiny_model(cfg).state_dict(), "config": cfg.dump()}, path)
    return path
