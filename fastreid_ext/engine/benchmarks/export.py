"""Exported models against PyTorch: differences of embeddings, and speed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

from fastreid_ext.config import load_config
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.export import FORMATS, ExportError, export_model
from fastreid_ext.export.speed import images_per_second
from fastreid_ext.inference import CheckpointEmbedder, Embedder, open_embedder
from fastreid_ext.modeling import build_model
from fastreid_ext.utils.logger import get_logger

__all__ = ["MODELS", "export"]


class _Model(NamedTuple):
    """A model that is measured, untrained: its name, its config, and what it has beside."""

    name: str
    config: str
    options: Sequence[Any] = ()


def _backbone(name: str, depth: str, *switches: str) -> list[Any]:
    on = (word for switch in switches for word in (f"MODEL.BACKBONE.{switch}", True))
    return ["MODEL.BACKBONE.NAME", f"build_{name}_backbone", "MODEL.BACKBONE.DEPTH", depth, *on]


_BAGTRICKS = "Market1501/bagtricks_R50"

MODELS = (
    _Model("MSINet + SAM", "msinet/market", ["MODEL.LOSSES.NAME", ("CrossEntropyLoss", "SpatialAlignmentLoss")]),
    _Model("ResNet-50", _BAGTRICKS),
    _Model("ResNet-50-IBN-SE-NL", _BAGTRICKS, _backbone("resnet", "50x", "WITH_IBN", "WITH_SE", "WITH_NL")),
    _Model("OSNet x1.0", _BAGTRICKS, _backbone("osnet", "x1_0")),
    _Model("MGN, ResNet-50-IBN", "Market1501/mgn_R50-ibn"),
    _Model("ViT-B/16", _BAGTRICKS, [*_backbone("vit", "base"), "MODEL.HEADS.POOL_LAYER", "Identity"]),
    _Model("RepVGG-A0", _BAGTRICKS, _backbone("repvgg", "A0")),
    _Model("ResNeSt-50", _BAGTRICKS, _backbone("resnest", "50x")),
    _Model("EfficientNet-B0", _BAGTRICKS, _backbone("effnet", "b0")),
    _Model("MobileNetV3-L", _BAGTRICKS, _backbone("mobilenetv3", "Large")),
    _Model("Group Loss++, ResNet-50", "grouploss/market_pp"),
    _Model("MoReID, ResNet-50", "moreid/market"),
)


@BENCHMARKS.register()
def export(options: Options) -> Report:
    """Models of many architectures in ONNX, torch.export and safetensors: differences from PyTorch, and speed."""
    rows = [_measure(model, options) for model in MODELS]
    ratios = [row["onnx speed-up"] for row in rows if "onnx speed-up" in row]
    return Report(rows, {"export.onnx_speedup": median(ratios)} if ratios else {})


def _measure(model: _Model, options: Options) -> dict[str, Any]:
    get_logger(__name__).info("exporting %s", model.name)
    original = _original(model, options)
    row: dict[str, Any] = {"model": model.name}
    embedders: dict[str, Embedder] = {"torch": original}
    with tempfile.TemporaryDirectory() as folder:
        for kind in FORMATS:
            try:
                exported = export_model(original, Path(folder) / f"model.{kind}")
            except ExportError as error:
                get_logger(__name__).warning(f"{model.name}: {error}")
                row[f"{kind} difference"] = None
            else:
                embedders[kind] = open_embedder(exported.path, device="cpu")
                row[f"{kind} difference"] = exported.differences["random"]
        rates = images_per_second(embedders, [options.batch_size], rounds=options.repeats)
    (plain,) = rates.pop("torch")
    return row | {"torch images/s": plain} | {f"{kind} speed-up": rate / plain for kind, (rate,) in rates.items()}


def _original(model: _Model, options: Options) -> CheckpointEmbedder:
    words = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 751]
    cfg = load_config(model.config, [*model.options, *words, "INPUT.SIZE_TEST", list(options.size)])
    torch.manual_seed(0)
    built = build_model(cfg)
    _warm(built, options.size)
    return CheckpointEmbedder(cfg, built)


@torch.no_grad()
def _warm(model: nn.Module, size: tuple[int, int]) -> None:
    """Gives batch norms statistics, and attention that attends: as a training leaves them."""
    model.eval()
    for module in model.modules():
        module.training = isinstance(module, nn.BatchNorm2d)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(0.1)
    for _ in range(3):
        model({"images": torch.randint(0, 256, (8, 3, *size), dtype=torch.uint8)})
    model.eval()
