"""ResNeXt, which is torchvision's but for IBN and non-local blocks."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from backbone_checks import config, without_weights
from torch import nn

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling.backbones import PretrainedError, ResNeXt, build_backbone, load_pretrained
from fastreid_ext.modeling.layers import FrozenBatchNorm


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    with caplog.at_level(logging.WARNING, "fastreid_ext"):
        yield caplog


def _meta(**backbone: Any) -> Any:
    return without_weights("build_resnext_backbone", **backbone).eval()


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        ({"DEPTH": "50x"}, (16, 8)),
        ({"DEPTH": "101x", "WITH_IBN": True}, (16, 8)),
        ({"DEPTH": "152x", "WITH_NL": True}, (16, 8)),
        ({"DEPTH": "50x", "LAST_STRIDE": 2}, (8, 4)),
    ],
)
def test_maps(options: dict[str, Any], cells: tuple[int, int]) -> None:
    backbone = _meta(**options)
    assert backbone.feature_dim == 2048
    assert backbone(torch.empty(2, 3, 256, 128, device="meta")).shape == (2, 2048, *cells)
    blocks = {"50x": 6, "101x": 23, "152x": 36}
    assert len(backbone.layer3) == blocks[options["DEPTH"]]


def test_what_torchvisions_network_computes() -> None:
    reference = torchvision.models.resnext50_32x4d(weights=None)
    state = {key: value for key, value in reference.state_dict().items() if not key.startswith("fc.")}
    backbone = ResNeXt(depth="50x", last_stride=2)
    backbone.load_state_dict(state, strict=True)
    reference.avgpool, reference.fc = nn.Identity(), nn.Identity()
    x = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        expected = reference.eval()(x)
        found = backbone.eval()(x).flatten(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_state_names_are_fastreids() -> None:
    state = _meta(WITH_IBN=True, WITH_NL=True, NON_LOCAL_CHANNELS=1).state_dict()
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.conv2.weight": (128, 4, 3, 3),
        "layer1.0.bn1.IN.weight": (64,),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer4.2.bn1.IN.bias": (512,),
        "layer4.2.bn1.BN.running_var": (512,),
        "layer4.2.conv2.weight": (1024, 32, 3, 3),
        "NL_2.1.g.weight": (1, 512, 1, 1),
        "NL_3.2.W.1.running_mean": (1024,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


@pytest.mark.parametrize("depth", ["50x", "101x", "152x"])
def test_non_local_blocks(depth: str) -> None:
    backbone = _meta(DEPTH=depth, WITH_NL=True)
    stages = (backbone.NL_1, backbone.NL_2, backbone.NL_3, backbone.NL_4)
    assert [len(stage) for stage in stages] == [0, 2, 3, 0]
    assert backbone.NL_2[0].g.out_channels == 256
    assert _meta(DEPTH=depth, WITH_NL=True, NON_LOCAL_CHANNELS=1).NL_2[0].g.out_channels == 1
    cfg = config("build_resnext_backbone", DEPTH=depth, WITH_NL=True)
    cfg.COMPAT.ONE_CHANNEL_NON_LOCAL = True
    with torch.device("meta"):
        compatible: Any = build_backbone(cfg)
    assert compatible.NL_3[2].phi.out_channels == 1


def test_every_parameter_gets_a_gradient() -> None:
    network = ResNeXt(depth="50x", with_ibn=True, with_nl=True).train()
    network(torch.randn(2, 3, 64, 32)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without


def test_switches(log: pytest.LogCaptureFixture) -> None:
    network = _meta(WITH_SE=True, WITH_IBN=True, WITH_NL=True, NORM="FrozenBN")
    assert {type(norm) for norm in network.modules() if isinstance(norm, nn.BatchNorm2d)} == {FrozenBatchNorm}
    assert "ResNeXt has no such variant: MODEL.BACKBONE.WITH_SE changes nothing" in log.text
    with pytest.raises(ConfigError, match=r"ResNeXt has no variant with MODEL\.BACKBONE\.WITH_AIN"):
        _meta(WITH_AIN=True)
    with pytest.raises(ConfigError, match=r"ResNeXt has no depth '18x' .*Choose 50x, 101x, 152x"):
        _meta(DEPTH="18x")


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"DEPTH": "50x"}, "https://download.pytorch.org/models/resnext50_32x4d"),
        ({"DEPTH": "101x"}, "gluon_resnext101_32x4d-b253c8c4.pth"),
        ({"DEPTH": "101x", "WITH_IBN": True}, "releases/download/v1.0/resnext101_ibn_a-6ace051d.pth"),
    ],
)
def test_a_missing_file_says_where_to_get_it(options: dict[str, Any], where: str) -> None:
    with pytest.raises(PretrainedError, match=f"nowhere.pth.*{where}"):
        _meta(PRETRAIN=True, PRETRAIN_PATH="nowhere.pth", **options)
    with pytest.raises(PretrainedError, match="nobody publishes"):
        _meta(PRETRAIN=True, DEPTH="152x")
    with pytest.raises(PretrainedError, match="nobody publishes"):
        _meta(PRETRAIN=True, DEPTH="50x", WITH_IBN=True)


def test_published_ibn_weights_have_plain_norms_in_the_last_stage(tmp_path: Path) -> None:
    backbone = ResNeXt(depth="50x", with_ibn=True)
    conv = torch.randn_like(backbone.conv1.weight)
    last_norms = re.compile(r"layer4\.\d\.bn1\.")
    published = {key: value for key, value in backbone.state_dict().items() if not last_norms.match(key)}
    published["conv1.weight"] = conv
    for key, value in _meta().state_dict().items():
        if last_norms.match(key):
            published[key] = torch.randn(value.shape) if value.dim() else torch.tensor(7)
    torch.save(published, tmp_path / "published.pth")
    load_pretrained(backbone, tmp_path / "published.pth")
    state = backbone.state_dict()
    assert torch.equal(state["conv1.weight"], conv)
    for name in ("weight", "bias"):
        both = [state[f"layer4.1.bn1.{norm}.{name}"] for norm in ("IN", "BN")]
        assert torch.equal(torch.cat(both), published[f"layer4.1.bn1.{name}"])
    assert torch.equal(state["layer4.1.bn1.BN.running_var"], published["layer4.1.bn1.running_var"][512:])
    assert state["layer4.1.bn1.BN.num_batches_tracked"] == 7
    before = {key: value.clone() for key, value in state.items()}
    torch.save(state, tmp_path / "ours.pth")
    load_pretrained(backbone, tmp_path / "ours.pth")
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
