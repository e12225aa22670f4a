"""What holds of every family of backbones that FastReID has."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from batch_norms import randomize_batch_norms
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.backbones import build_backbone
from fastreid_ext.modeling.folding import fold_batch_norms
from fastreid_ext.modeling.last_layers import last_activations
from fastreid_ext.modeling.layers import FrozenBatchNorm


def config(name: str, **backbone: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_mapping({"MODEL": {"DEVICE": "cpu", "BACKBONE": {"NAME": name, **backbone}}})
    return cfg


def without_weights(name: str, **backbone: Any) -> Any:
    """A backbone whose tensors have shapes only."""
    with torch.device("meta"):
        return build_backbone(config(name, **backbone))


def check_map(name: str, width: int, size: tuple[int, int], **backbone: Any) -> None:
    """The map of images of 256x128 and of such that no stride divides."""
    network = without_weights(name, **backbone).eval()
    assert network.feature_dim == width
    assert network(torch.empty(2, 3, 256, 128, device="meta")).shape == (2, width, *size)
    stride = 256 // size[0]
    odd = network(torch.empty(2, 3, 225, 99, device="meta")).shape
    assert odd == (2, width, -(-225 // stride), -(-99 // stride))


def check_switches(name: str, depth: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What FastReID passes over is a warning, the rest an error; the norm is that of every layer."""
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    network = without_weights(name, DEPTH=depth, NORM="FrozenBN")
    assert not caplog.records
    norms = [type(module) for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and set(norms) == {FrozenBatchNorm}
    without_weights(name, DEPTH=depth, WITH_IBN=True, WITH_SE=True, WITH_NL=True)
    for option in ("WITH_IBN", "WITH_SE", "WITH_NL"):
        assert f"MODEL.BACKBONE.{option} changes nothing" in caplog.text
    with pytest.raises(ConfigError, match=r"no variant with MODEL\.BACKBONE\.WITH_AIN"):
        without_weights(name, DEPTH=depth, WITH_AIN=True)


def check_learning_and_folding(network: nn.Module) -> None:
    """Every parameter gets a gradient, and all norms can become part of convolutions."""
    network.train()(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    randomize_batch_norms(network)
    network.double().eval()
    folded = fold_batch_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected: Tensor = network(images)
        torch.testing.assert_close(folded(images), expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def last_relus(name: str, depth: str) -> list[str]:
    """Names in the backbone of the ReLUs that make its map."""
    cfg = config(name, DEPTH=depth)
    cfg.MODEL.HEADS.NUM_CLASSES = 2
    model: Any = build_model(cfg)
    names = {id(module): key for key, module in model.backbone.named_modules()}
    return [names[id(parent.get_submodule(child))] for parent, child in last_activations(model)]
