"""ResNeSt and its split attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from backbone_checks import check_switches, without_weights
from batch_norms import randomize_batch_norms
from torch import Tensor, nn

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling.backbones import PretrainedError, ResNeSt, released_weights
from fastreid_ext.modeling.backbones.resnest import SplitAttentionBottleneck
from fastreid_ext.modeling.layers import SplitAttentionConv


def _meta(**backbone: Any) -> Any:
    return without_weights("build_resnest_backbone", **backbone).eval()


@pytest.mark.parametrize(("depth", "millions"), [("50x", 25.4), ("101x", 46.2), ("200x", 68.1), ("269x", 108.9)])
def test_maps_and_parameters(depth: str, millions: float) -> None:
    backbone = _meta(DEPTH=depth)
    assert backbone.feature_dim == 2048
    assert backbone(torch.empty(2, 3, 256, 128, device="meta")).shape == (2, 2048, 16, 8)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(("size", "cells"), [((251, 97), (16, 7)), ((33, 65), (3, 5))])
def test_odd_sizes(size: tuple[int, int], cells: tuple[int, int]) -> None:
    assert _meta()(torch.empty(2, 3, *size, device="meta")).shape == (2, 2048, *cells)


def test_last_stride_two_halves_the_map_instead_of_dilating() -> None:
    dilations = {}
    for stride, cells in ((1, (16, 8)), (2, (8, 4))):
        backbone = _meta(LAST_STRIDE=stride)
        assert backbone(torch.empty(2, 3, 256, 128, device="meta")).shape == (2, 2048, *cells)
        dilations[stride] = [block.conv2.conv.dilation[0] for block in backbone.layer4]
        assert all(block.conv2.conv.dilation == (1, 1) for block in backbone.layer3)
    assert dilations == {1: [1, 2, 2], 2: [1, 1, 1]}


def test_state_names_are_the_authors() -> None:
    state = _meta(DEPTH="101x").state_dict()
    shapes = {
        "conv1.0.weight": (64, 3, 3, 3),
        "conv1.1.running_mean": (64,),
        "conv1.6.weight": (128, 64, 3, 3),
        "bn1.weight": (128,),
        "layer1.0.downsample.1.weight": (256, 128, 1, 1),
        "layer1.0.downsample.2.bias": (256,),
        "layer3.22.conv2.conv.weight": (512, 128, 3, 3),
        "layer3.22.conv2.bn0.running_var": (512,),
        "layer3.22.conv2.fc1.bias": (128,),
        "layer3.22.conv2.bn1.weight": (128,),
        "layer3.22.conv2.fc2.weight": (512, 128, 1, 1),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "layer4.2.bn3.num_batches_tracked": (),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert not any(".conv2.bn2" in key or ".bn2." in key or key.startswith("NL_") for key in state)
    assert _meta(DEPTH="50x").state_dict()["conv1.0.weight"].shape[0] == 32


def test_strides_are_average_poolings() -> None:
    backbone = _meta()
    strided = [m for m in backbone.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert strided == [backbone.conv1[0]]
    pooled = [
        name
        for name, block in backbone.named_modules()
        if isinstance(block, SplitAttentionBottleneck) and isinstance(block.avd_layer, nn.AvgPool2d)
    ]
    assert pooled == ["layer2.0", "layer3.0", "layer4.0"]


def test_every_parameter_gets_a_gradient() -> None:
    network = ResNeSt(depth="50x").train()
    network(torch.randn(2, 3, 64, 32)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without


def test_what_timms_network_computes() -> None:
    reference = timm.create_model("resnest50d", num_classes=0, global_pool="")
    randomize_batch_norms(reference)
    backbone = ResNeSt(depth="50x", last_stride=2)
    backbone.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected, found = reference.eval()(images), backbone.eval()(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_switches(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    check_switches("build_resnest_backbone", "50x", caplog, monkeypatch)


def test_unknown_depth_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"ResNeSt has no depth '50' .*Did you mean 50x"):
        _meta(DEPTH="50")


def test_weights_are_the_authors_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.save({"fc.bias": torch.ones(3)}, tmp_path / "weights.pth")
    urls: list[str] = []

    def local_file(url: str) -> Path:
        urls.append(url)
        return tmp_path / "weights.pth"

    monkeypatch.setattr(released_weights, "local_file", local_file)
    with pytest.raises(PretrainedError, match=r"resnest50-528c19ca\.pth do not fit ResNeSt: missing"):
        _meta(PRETRAIN=True)
    assert urls == ["https://github.com/zhanghang1989/ResNeSt/releases/download/weights_step1/resnest50-528c19ca.pth"]


# Split attention


def _one_image_after_the_other(layer: Any, x: Tensor) -> Tensor:
    """Eq. 1 to 3 of the paper for each cardinal group, with channels split first by radix, then by group."""
    outputs = []
    for maps in layer.bn0(layer.conv(x)).relu():
        radix, groups = layer.radix, layer.groups
        width = len(maps) // (radix * groups)
        splits = {(r, g): maps[(r * groups + g) * width :][:width] for r in range(radix) for g in range(groups)}
        means = [sum(splits[r, g].mean((1, 2)) for r in range(radix)) for g in range(groups)]
        hidden = layer.bn1(layer.fc1(torch.cat(means)[None, :, None, None])).relu()
        logits = layer.fc2(hidden).flatten().split(width)
        attended = []
        for g in range(groups):
            own = torch.stack([logits[g * radix + r] for r in range(radix)])
            weights = own.softmax(0) if radix > 1 else own.sigmoid()
            attended.append(sum(weights[r][:, None, None] * splits[r, g] for r in range(radix)))
        outputs.append(torch.cat(attended))
    return torch.stack(outputs)


@pytest.mark.parametrize(
    ("radix", "groups", "stride", "dilation"), [(1, 1, 1, 1), (2, 1, 1, 2), (2, 2, 2, 1), (3, 4, 1, 1), (1, 2, 1, 1)]
)
def test_split_attention(radix: int, groups: int, stride: int, dilation: int) -> None:
    layer = SplitAttentionConv(24, 48, radix=radix, groups=groups, stride=stride, dilation=dilation).eval()
    randomize_batch_norms(layer)
    x = torch.randn(2, 24, 7, 5)
    before = x.clone()
    with torch.no_grad():
        found, expected = layer(x), _one_image_after_the_other(layer, x)
    assert found.shape == (2, 48, *((4, 3) if stride == 2 else (7, 5)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(x, before)


def test_split_attentions_hidden_layer_has_at_least_32_channels() -> None:
    assert SplitAttentionConv(16, 16).fc1.out_channels == 32
    assert SplitAttentionConv(128, 128).fc1.out_channels == 64
    assert SplitAttentionConv(128, 128, reduction=2, radix=4).fc1.out_channels == 256
