from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastreid_ext.config import get_cfg
from fastreid_ext.modeling.layers.cls import (
    CLS_LAYERS,
    ArcSoftmax,
    CircleSoftmax,
    CLSLayer,
    CosSoftmax,
    Linear,
    build_cls_layer,
)
from fastreid_ext.registry import RegistryError

SCALE, MARGIN, CLASSES = 8.0, 0.3, 4
LAYERS = [layer(CLASSES, SCALE, MARGIN) for layer in (Linear, CosSoftmax, ArcSoftmax, CircleSoftmax)]
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)


def cosines() -> tuple[Tensor, Tensor]:
    values = 2 * torch.rand(6, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    return values, torch.tensor([0, 1, 2, 3, -1, 1])


def slow_logit(name: str, cosine: float, is_true: bool) -> float:
    if name == "CosSoftmax":
        return SCALE * (cosine - MARGIN if is_true else cosine)
    if name == "ArcSoftmax":
        return SCALE * (math.cos(math.acos(cosine) + MARGIN) if is_true else cosine)
    if name == "CircleSoftmax":
        if is_true:
            return SCALE * max(0.0, 1 + MARGIN - cosine) * (cosine - (1 - MARGIN))
        return SCALE * max(0.0, cosine + MARGIN) * (cosine - MARGIN)
    return SCALE * cosine


@every_layer
def test_equals_the_loop_with_and_without_a_class(layer: CLSLayer) -> None:
    values, pids = cosines()
    found = layer(values, pids)
    for row, pid in enumerate(pids.tolist()):
        for column in range(CLASSES):
            expected = slow_logit(type(layer).__name__, values[row, column].item(), column == pid)
            assert found[row, column].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("layer", LAYERS[:3], ids=lambda layer: type(layer).__name__)
def test_gradients(layer: CLSLayer) -> None:
    values, pids = cosines()
    assert torch.autograd.gradcheck(lambda x: layer(x, pids), values.requires_grad_())


def test_circle_weights_are_constants_to_the_gradient() -> None:
    values, pids = cosines()
    CircleSoftmax(CLASSES, SCALE, MARGIN)(values.requires_grad_(), pids).sum().backward()
    true = pids[:, None] == torch.arange(CLASSES)
    constant = values.detach()
    expected = SCALE * torch.where(true, 1 + MARGIN - constant, (constant + MARGIN).clamp_min(0))
    torch.testing.assert_close(values.grad, expected)


@every_layer
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradients_are_finite_at_the_ends(layer: CLSLayer, dtype: torch.dtype) -> None:
    values = torch.tensor([[1.0, -1, 1, -1], [-1, 1, 0, 0]], dtype=dtype, requires_grad=True)
    logits = layer(values, torch.tensor([0, 0]))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert values.grad is not None and values.grad.isfinite().all()


@every_layer
def test_inputs_are_left_alone(layer: CLSLayer) -> None:
    values, pids = cosines()
    layer(values, pids)
    assert torch.equal(values, cosines()[0])
    assert torch.equal(pids, cosines()[1])


@every_layer
def test_an_empty_batch_stays_empty(layer: CLSLayer) -> None:
    assert layer(torch.zeros(0, CLASSES), torch.zeros(0, dtype=torch.long)).shape == (0, CLASSES)


@every_layer
def test_nothing_depends_on_values_that_a_gpu_would_have_to_send(layer: CLSLayer) -> None:
    values = torch.randn(6, CLASSES, device="meta", requires_grad=True)
    layer(values, torch.zeros(6, dtype=torch.long, device="meta")).sum().backward()


def test_layers_are_built_from_the_config() -> None:
    cfg = get_cfg()
    cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.HEADS.SCALE, cfg.MODEL.HEADS.MARGIN = 7, 64.0, 0.35
    # Those of projects have keys of their own.
    for name in ("Linear", "CosSoftmax", "ArcSoftmax", "CircleSoftmax"):
        cfg.MODEL.HEADS.CLS_LAYER = name
        layer = build_cls_layer(cfg)
        assert (type(layer).__name__, layer.num_classes, layer.scale, layer.margin) == (name, 7, 64.0, 0.35)
    cfg.MODEL.HEADS.CLS_LAYER = "CircleSofmax"
    with pytest.raises(RegistryError, match="CircleSoftmax"):
        build_cls_layer(cfg)


def test_only_linear_takes_outputs_of_any_length() -> None:
    assert [entry.name for entry in CLS_LAYERS if not entry.target.takes_cosines] == ["Linear"]  # type: ignore[attr-defined]
