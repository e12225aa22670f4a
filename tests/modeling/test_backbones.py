from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling.backbones import (
    BACKBONES,
    Backbone,
    BNInception,
    DenseNet,
    OfficialWeights,
    OSNet,
    PretrainedError,
    ResNet,
    build_backbone,
    load_pretrained,
)
from fastreid_ext.modeling.backbones.resnet import BLOCKS
from fastreid_ext.modeling.layers import FrozenBatchNorm
from fastreid_ext.registry import RegistryError

DENSENET_WIDTHS = {"121": 1024, "161": 2208, "169": 1664, "201": 1920}
OSNET_WIDTHS = {"x1_0": 512, "x0_75": 384, "x0_5": 256, "x0_25": 128}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    with caplog.at_level(logging.INFO, "fastreid_ext"):
        yield caplog


def _cfg(name: str, **backbone: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    for key, value in backbone.items():
        cfg.MODEL.BACKBONE[key] = value
    return cfg


def _map_size(backbone: nn.Module, height: int, width: int) -> tuple[int, ...]:
    """Shape of the map, worked out without computing it."""
    return tuple(backbone.to("meta").eval()(torch.empty(2, 3, height, width, device="meta")).shape)


def _count(backbone: nn.Module) -> int:
    return sum(parameter.numel() for parameter in backbone.parameters())


VARIANTS: list[tuple[str, dict[str, Any], int]] = [
    *(("build_resnet_backbone", {"DEPTH": d}, 512 * BLOCKS[d].expansion) for d in BLOCKS),
    ("build_resnet_backbone", {"WITH_IBN": True, "WITH_NL": True, "WITH_SE": True}, 2048),
    *(("build_osnet_backbone", {"DEPTH": d}, w) for d, w in OSNET_WIDTHS.items()),
    ("build_osnet_backbone", {"DEPTH": "x1_0", "WITH_IBN": True}, 512),
    ("build_osnet_backbone", {"DEPTH": "x1_0", "WITH_AIN": True}, 512),
    *(("build_densenet_backbone", {"DEPTH": d}, w) for d, w in DENSENET_WIDTHS.items()),
    ("build_bn_inception_backbone", {}, 1024),
]


@pytest.mark.parametrize(("name", "options", "width"), VARIANTS)
def test_maps_have_the_announced_channels_at_a_sixteenth(name: str, options: dict[str, Any], width: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(_cfg(name, **options))
    assert backbone.feature_dim == width
    assert _map_size(backbone, 256, 128) == (2, width, 16, 8)
    for height, width_ in ((251, 97), (240, 112), (225, 99)):
        odd = _map_size(backbone, height, width_)
        assert odd[:2] == (2, width)
        assert all(side // 16 <= cells <= side // 16 + 1 for side, cells in zip((height, width_), odd[2:], strict=True))


@pytest.mark.parametrize("name", ["build_resnet_backbone", "build_densenet_backbone", "build_bn_inception_backbone"])
def test_last_stride_two_halves_the_map(name: str) -> None:
    depth = "121" if "densenet" in name else "50x"
    with torch.device("meta"):
        backbone = build_backbone(_cfg(name, LAST_STRIDE=2, DEPTH=depth))
    assert _map_size(backbone, 256, 128)[2:] == (8, 4)


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: ResNet(depth="18x", with_ibn=True, with_se=True),
        lambda: ResNet(depth="50x", with_nl=True, with_ibn=True),
        lambda: OSNet(depth="x0_25", with_ibn=True),
        lambda: OSNet(depth="x0_25", with_ain=True),
        lambda: DenseNet(),
        lambda: BNInception(),
    ],
)
def test_every_parameter_gets_a_gradient(backbone: Any) -> None:
    network = backbone().train()
    network(torch.randn(2, 3, 64, 32)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without


def test_same_seed_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(OSNet(depth="x0_25").state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_registered_names_and_aliases() -> None:
    for alias, name in {
        "ResNet": "build_resnet_backbone",
        "OSNet": "build_osnet_backbone",
        "DenseNet": "build_densenet_backbone",
        "BNInception": "build_bn_inception_backbone",
    }.items():
        assert BACKBONES.get(alias) is BACKBONES.get(name)
    assert "Any model of timm" in BACKBONES.describe()


@pytest.mark.parametrize(
    ("name", "depth", "hint"),
    [
        ("build_resnet_backbone", "50", "50x"),
        ("build_osnet_backbone", "x10", "x1_0"),
        ("build_densenet_backbone", "50x", "121"),
    ],
)
def test_unknown_depth_lists_what_there_is(name: str, depth: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=rf"no depth '{depth}'.*{hint}"):
        build_backbone(_cfg(name, DEPTH=depth))


def test_switches_that_a_family_lacks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"OSNet has no variant with MODEL\.BACKBONE\.WITH_SE"):
        build_backbone(_cfg("OSNet", DEPTH="x1_0", WITH_SE=True))
    with pytest.raises(ConfigError, match="either IBN or AIN"):
        build_backbone(_cfg("OSNet", DEPTH="x1_0", WITH_IBN=True, WITH_AIN=True))
    with pytest.raises(ConfigError, match="DenseNet has no variant"):
        build_backbone(_cfg("DenseNet", DEPTH="121", WITH_IBN=True))


def test_wrong_feat_dim_is_only_a_warning(log: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        build_backbone(_cfg("ResNet", DEPTH="18x"))
        assert not log.records
        build_backbone(_cfg("ResNet", DEPTH="18x", FEAT_DIM=1024))
    assert "FEAT_DIM is 1024" in log.text and "512" in log.text


def test_non_local_switch_without_effect_is_a_warning(log: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        build_backbone(_cfg("ResNet", DEPTH="34x", WITH_NL=True))
    assert "ResNet 34x has no non-local blocks" in log.text


def test_norm_reaches_every_layer() -> None:
    for name, options in (("ResNet", {"WITH_IBN": True}), ("DenseNet", {"DEPTH": "121"}), ("BNInception", {})):
        with torch.device("meta"):
            backbone = build_backbone(_cfg(name, NORM="FrozenBN", **options))
        norms = {type(module) for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)}
        assert norms == {FrozenBatchNorm}


# State names


def test_resnet_has_fastreids_state_names() -> None:
    with torch.device("meta"):
        state = ResNet(depth="50x", with_ibn=True, with_se=True, with_nl=True, non_local_channels=1).state_dict()
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.bn1.IN.weight": (32,),
        "layer1.0.bn1.BN.running_var": (32,),
        "layer3.5.bn1.IN.bias": (128,),
        "layer4.0.bn1.weight": (512,),
        "layer2.0.downsample.0.weight": (512, 256, 1, 1),
        "layer2.0.downsample.1.bias": (512,),
        "layer3.1.se.fc.0.weight": (64, 1024),
        "layer3.1.se.fc.2.weight": (1024, 64),
        "NL_2.0.g.weight": (1, 512, 1, 1),
        "NL_2.1.theta.bias": (1,),
        "NL_3.2.phi.weight": (1, 1024, 1, 1),
        "NL_3.0.W.0.weight": (1024, 1, 1, 1),
        "NL_3.0.W.1.running_mean": (1024,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    blocks = {key.rsplit(".", 2)[0] for key in state if key.startswith("NL_") and ".g.weight" in key}
    assert blocks == {"NL_2.0", "NL_2.1", "NL_3.0", "NL_3.1", "NL_3.2"}
    assert not any("se.fc" in key and key.endswith("bias") for key in state)
    with torch.device("meta"):
        assert ResNet(with_nl=True).state_dict()["NL_2.0.g.weight"].shape[0] == 256


@pytest.mark.parametrize("depth", ["18x", "50x"])
def test_resnet_computes_what_torchvision_does(depth: str) -> None:
    reference = getattr(torchvision.models, f"resnet{depth[:-1]}")(weights=None)
    state = {key: value for key, value in reference.state_dict().items() if not key.startswith("fc.")}
    backbone = ResNet(depth=depth, last_stride=2)
    backbone.load_state_dict(state, strict=True)
    assert _count(backbone) == _count(reference) - _count(reference.fc)
    reference.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # FastReID's one difference
    reference.avgpool, reference.fc = nn.Identity(), nn.Identity()
    x = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        expected = reference.eval()(x)
        assert torch.allclose(backbone.eval()(x).flatten(1), expected, atol=1e-5 * float(expected.abs().max()))


def test_non_local_blocks_follow_the_last_blocks_of_their_stage() -> None:
    backbone = ResNet(depth="50x", with_nl=True).eval()
    order: list[str] = []
    for name, module in backbone.named_modules():
        if name.count(".") == 1 and name.startswith(("layer2.", "layer3.", "NL_")):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    with torch.inference_mode():
        backbone(torch.randn(1, 3, 32, 32))
    stage2 = ["layer2.0", "layer2.1", "layer2.2", "NL_2.0", "layer2.3", "NL_2.1"]
    stage3 = ["layer3.0", "layer3.1", "layer3.2", "layer3.3", "NL_3.0", "layer3.4", "NL_3.1", "layer3.5", "NL_3.2"]
    assert order == stage2 + stage3


def test_densenet_computes_what_torchvision_does() -> None:
    reference = torchvision.models.densenet121(weights=None).eval()
    backbone = DenseNet(depth="121", last_stride=2).eval()
    backbone.load_state_dict({k: v for k, v in reference.state_dict().items() if k.startswith("features.")})
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(reference(x), reference.classifier(backbone(x).mean((2, 3))), atol=1e-6)


def _osnet_count(stem: int, *widths: int) -> int:
    """Parameters by the paper's Table 1: stem, two blocks a stage, two reductions, the last convolution."""

    def conv(inputs: int, outputs: int, size: int = 1) -> int:
        return inputs * outputs * size**2 + 2 * outputs

    def block(inputs: int, outputs: int) -> int:
        inner, gate = outputs // 4, outputs // 64
        light = inner * inner + 9 * inner + 2 * inner
        gates = inner * gate + gate + gate * inner + inner
        shortcut = conv(inputs, outputs) if inputs != outputs else 0
        return conv(inputs, inner) + (1 + 2 + 3 + 4) * light + gates + conv(inner, outputs) + shortcut

    stages = zip((stem, *widths[:-1]), widths, strict=True)
    blocks = sum(block(inputs, outputs) + block(outputs, outputs) for inputs, outputs in stages)
    return conv(3, stem, 7) + blocks + conv(widths[0], widths[0]) + conv(widths[1], widths[1]) + conv(*widths[-1:] * 2)


def test_osnet_has_its_papers_size() -> None:
    with torch.device("meta"):
        assert _count(OSNet()) == _osnet_count(64, 256, 384, 512) == 1_905_828
        assert _count(OSNet(depth="x0_25")) == _osnet_count(16, 64, 96, 128) == 134_792
        # One pair of IN weights in the stem takes the norm's place; four blocks add theirs of 256 channels.
        assert _count(OSNet(with_ibn=True)) == 1_905_828 + 2 * 2 * 256
        assert _count(OSNet(with_ain=True)) == 1_905_828
    # The authors' counter gives 2,193,616 with their 512-512 layer and its norm, each of the six shared gates, of
    # 580, 1254 and 2184 weights, counted four times.
    assert 1_905_828 + 512 * 512 + 512 + 2 * 512 + 3 * 2 * (580 + 1254 + 2184) == 2_193_616


def test_osnet_has_its_authors_state_names() -> None:
    with torch.device("meta"):
        plain = set(OSNet(with_ibn=True).state_dict())
        ain = set(OSNet(with_ain=True).state_dict())
    common = {"conv1.conv.weight", "conv1.bn.bias", "conv5.bn.running_mean", "conv2.0.gate.fc1.bias"}
    assert (
        common
        | {
            "conv2.0.conv1.bn.running_var",
            "conv2.0.conv2a.conv1.weight",
            "conv2.0.conv2b.1.bn.weight",
            "conv2.0.conv2d.3.conv2.weight",
            "conv2.0.conv3.bn.weight",
            "conv2.0.downsample.conv.weight",
            "conv2.1.IN.weight",
            "conv2.2.0.conv.weight",
            "conv3.2.0.bn.weight",
        }
        <= plain
    )
    assert not any(".IN." in key for key in plain if key.startswith(("conv3", "conv4")))
    assert (
        common
        | {
            "conv2.0.conv2.0.layers.0.conv1.weight",
            "conv2.1.conv2.3.layers.3.bn.running_mean",
            "pool2.0.conv.weight",
            "pool3.0.bn.bias",
            "conv3.0.conv3.bn.weight",
            "conv2.0.conv3.conv.weight",
        }
        <= ain
    )
    assert "conv2.0.conv3.bn.weight" not in ain
    with_in = {key.removesuffix(".IN.weight") for key in ain if key.endswith("IN.weight")}
    assert with_in == {"conv2.0", "conv2.1", "conv3.1", "conv4.0"}


def test_bn_inception_has_the_converted_weights_names_and_size() -> None:
    with torch.device("meta"):
        backbone = BNInception()
    state = backbone.state_dict()
    shapes = {
        "conv1_7x7_s2.bias": (64,),
        "conv2_3x3_reduce.weight": (64, 64, 1, 1),
        "inception_3a_1x1.weight": (64, 192, 1, 1),
        "inception_3a_double_3x3_2_bn.weight": (96,),
        "inception_3c_3x3.weight": (160, 128, 3, 3),
        "inception_4e_double_3x3_1.weight": (256, 192, 3, 3),
        "inception_5a_3x3_reduce.weight": (192, 1056, 1, 1),
        "inception_5b_pool_proj_bn.running_mean": (128,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert "inception_3c_1x1.weight" not in state and "inception_4e_pool_proj.weight" not in state
    assert _count(backbone) == 11_295_240 - 1024 * 1000 - 1000


@pytest.mark.parametrize("size", [(8, 4), (7, 5)])
def test_bn_inception_blocks_pool_as_their_weights_expect(size: tuple[int, int]) -> None:
    backbone = BNInception().eval()
    x = torch.rand(1, 192, *size)
    with torch.inference_mode():
        *_, projected = backbone._branches("3a", x)
        mean = nn.AvgPool2d(3, stride=1, padding=1)(x)
        assert torch.allclose(
            projected, backbone.inception_3a_pool_proj_bn(backbone.inception_3a_pool_proj(mean)).relu()
        )
        x = torch.rand(1, 1024, *size)
        *_, projected = backbone._branches("5b", x)
        largest = nn.MaxPool2d(3, stride=1, padding=1)(x)
        expected = backbone.inception_5b_pool_proj_bn(backbone.inception_5b_pool_proj(largest)).relu()
        assert torch.allclose(projected, expected)
        x = torch.rand(1, 320, *size)
        single, double, passed = backbone._branches("3c", x)
    assert single.shape[2:] == double.shape[2:] == passed.shape[2:]
    for row in range(passed.shape[2]):
        for column in range(passed.shape[3]):
            window = x[0, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            assert torch.equal(passed[0, :, row, column], window.amax((1, 2)))


# Pretrained weights


class _Tiny(Backbone):
    """A backbone small enough to check its weights."""

    feature_dim = 4
    new_layers = ("extra.",)

    def __init__(self, official: OfficialWeights | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.extra = nn.Conv2d(4, 4, 1)
        self.official = official

    def official_weights(self) -> OfficialWeights | None:
        return self.official


def _state() -> dict[str, Tensor]:
    return {key: torch.full_like(value, 7) for key, value in _Tiny().state_dict().items() if "extra" not in key}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"model": {f"backbone.{k}": v for k, v in state.items()} | {"heads.weight": torch.ones(3)}},
        lambda state: state | {"fc.weight": torch.ones(1000, 4), "classifier.bias": torch.ones(3)},
        lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
    ],
)
def test_weights_are_found_in_checkpoints_of_all_kinds(wrap: Any, tmp_path: Path) -> None:
    torch.save(wrap(_state()), tmp_path / "weights.pth")
    backbone = _Tiny()
    extra = backbone.extra.weight.clone()
    load_pretrained(backbone, tmp_path / "weights.pth")
    assert (backbone.conv.weight == 7).all() and (backbone.bn.running_var == 7).all()
    assert torch.equal(backbone.extra.weight, extra)


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(_state(), tmp_path / "weights.safetensors")
    backbone = _Tiny()
    load_pretrained(backbone, tmp_path / "weights.safetensors")
    assert (backbone.conv.weight == 7).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "conv.bias"}, "missing in the file: conv.bias"),
        (lambda s: s | {"other.weight": torch.ones(1)}, "unknown to the backbone: other.weight"),
        (lambda s: s | {"conv.bias": torch.ones(9)}, r"conv.bias \(9,\) instead of \(4,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_named(change: Any, told: str, tmp_path: Path) -> None:
    torch.save(change(_state()), tmp_path / "weights.pth")
    backbone = _Tiny()
    before = backbone.conv.weight.clone()
    with pytest.raises(PretrainedError, match=told):
        load_pretrained(backbone, tmp_path / "weights.pth")
    assert torch.equal(backbone.conv.weight, before)


def test_files_that_are_no_weights_are_explained(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(PretrainedError, match="holds no state dict"):
        load_pretrained(_Tiny(), tmp_path / "list.pth")
    torch.save({"model": _Tiny()}, tmp_path / "module.pth")
    with pytest.raises(PretrainedError, match="not a file of plain tensors"):
        load_pretrained(_Tiny(), tmp_path / "module.pth")
    torch.save(_state(), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:300])
    with pytest.raises(PretrainedError, match="may be cut off"):
        load_pretrained(_Tiny(), tmp_path / "cut.pth")
    (tmp_path / "text.pth").write_text("not found")
    with pytest.raises(PretrainedError, match=r"text\.pth"):
        load_pretrained(_Tiny(), tmp_path / "text.pth")
    pytest.importorskip("safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(PretrainedError, match="may be cut off"):
        load_pretrained(_Tiny(), tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("ResNet", {}, "https://download.pytorch.org/models/resnet50"),
        ("ResNet", {"WITH_IBN": True}, "XingangPan/IBN-Net/releases/download/v1.0/resnet50_ibn_a-d9d0bb7b.pth"),
        ("OSNet", {"DEPTH": "x0_25"}, "osnet_x0_25_imagenet.pth"),
        ("DenseNet", {"DEPTH": "121"}, "https://download.pytorch.org/models/densenet121"),
        ("BNInception", {}, "bn_inception-52deb4733.pth"),
    ],
)
def test_a_missing_file_says_where_to_get_it(name: str, options: dict[str, Any], where: str) -> None:
    with torch.device("meta"), pytest.raises(PretrainedError, match=f"nowhere/weights.pth.*{where}"):
        build_backbone(_cfg(name, PRETRAIN=True, PRETRAIN_PATH="nowhere/weights.pth", **options))


def test_weights_that_no_library_loads_are_never_left_random() -> None:
    with torch.device("meta"), pytest.raises(PretrainedError, match=r"Download resnet50_ibn_a.*PRETRAIN_PATH"):
        build_backbone(_cfg("ResNet", WITH_IBN=True, PRETRAIN=True))
    with torch.device("meta"), pytest.raises(PretrainedError, match="nobody publishes"):
        build_backbone(_cfg("ResNet", WITH_SE=True, PRETRAIN=True))
    with pytest.raises(PretrainedError, match="nobody publishes"):
        load_pretrained(nn.Conv2d(3, 4, 1))


def test_a_failed_download_is_an_error() -> None:
    def fetch() -> dict[str, Tensor]:
        raise ConnectionError("no route to host")

    with pytest.raises(PretrainedError, match=r"could not load w of somewhere: ConnectionError: no route.*elsewhere"):
        load_pretrained(_Tiny(OfficialWeights("w of somewhere", fetch)))


def test_librarys_own_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = torchvision.models.resnet18(weights=None).state_dict()
    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", lambda *_, **__: reference)
    backbone = build_backbone(_cfg("ResNet", DEPTH="18x", PRETRAIN=True))
    assert torch.equal(backbone.layer4[1].conv2.weight, reference["layer4.1.conv2.weight"])


def test_path_without_pretrain_loads_nothing_and_says_so(log: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        build_backbone(_cfg("ResNet", PRETRAIN=False, PRETRAIN_PATH="nowhere.pth"))
    assert "PRETRAIN is off: the backbone starts at random" in log.text


def test_non_local_blocks_are_new_in_imagenet_weights(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    state = ResNet(depth="50x").state_dict()
    torch.save(state, tmp_path / "resnet50.pth")
    backbone = ResNet(depth="50x", with_nl=True)
    load_pretrained(backbone, tmp_path / "resnet50.pth")
    assert torch.equal(backbone.conv1.weight, state["conv1.weight"])
    assert "start as the identity: NL_2.0.g.weight" in log.text
    with pytest.raises(PretrainedError, match=r"missing in the file: layer1.0.bn1.IN.weight"):
        load_pretrained(ResNet(depth="50x", with_ibn=True), tmp_path / "resnet50.pth")


def test_published_names_are_converted(tmp_path: Path) -> None:
    backbone = DenseNet(depth="121")
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for key, v in backbone.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet.pth")
    load_pretrained(backbone, tmp_path / "densenet.pth")

    inception = BNInception()
    state = inception.state_dict()
    caffe = {key: value[None] if "_bn." in key and value.dim() == 1 else value for key, value in state.items()}
    torch.save(caffe | {"last_linear.weight": torch.ones(1000, 1024)}, tmp_path / "bn_inception.pth")
    torch.save(state, tmp_path / "ours.pth")
    loaded = BNInception()
    load_pretrained(loaded, tmp_path / "bn_inception.pth")
    assert torch.equal(loaded.conv1_7x7_s2.weight, inception.conv1_7x7_s2.weight.flip(1))
    load_pretrained(loaded, tmp_path / "ours.pth")
    assert torch.equal(loaded.conv1_7x7_s2.weight, inception.conv1_7x7_s2.weight)


# timm


@pytest.mark.parametrize(
    ("name", "width", "size"),
    [
        ("resnet10t", 512, (8, 4)),
        ("mobilenetv3_small_050", 1024, (8, 4)),
        ("convnext_atto", 320, (8, 4)),
        ("vit_tiny_patch16_224", 192, (16, 8)),
        ("swin_tiny_patch4_window7_224", 768, (8, 4)),
        ("mixer_s32_224", 512, (8, 4)),
    ],
)
def test_timm_models_give_maps(name: str, width: int, size: tuple[int, int]) -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        backbone = build_backbone(_cfg(f"timm:{name}"))
    assert backbone.feature_dim == width
    assert _map_size(backbone, 256, 128) == (2, width, *size)
    if not name.startswith(("mixer", "swin")):
        assert _map_size(backbone, 192, 96) == (2, width, size[0] * 3 // 4, size[1] * 3 // 4)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_timm_parameters_all_get_a_gradient(name: str) -> None:
    pytest.importorskip("timm")
    cfg = _cfg(f"timm:{name}")
    cfg.INPUT.SIZE_TRAIN = [64, 32]
    backbone = build_backbone(cfg).train()
    backbone(torch.randn(2, 3, 64, 32)).square().mean().backward()
    assert not [key for key, parameter in backbone.named_parameters() if parameter.grad is None]


def test_timm_drop_rates_are_for_transformers() -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        vit = build_backbone(_cfg("timm:test_vit", DROP_PATH_RATIO=0.2, DROP_RATIO=0.3))
        cnn = build_backbone(_cfg("timm:test_resnet", DROP_PATH_RATIO=0.2, DROP_RATIO=0.3))
    assert vit.model.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)
    assert vit.model.blocks[0].attn.proj_drop.p == pytest.approx(0.3)
    assert not any("DropPath" in type(module).__name__ for module in cnn.modules())


def test_timm_tokens_lie_where_their_patches_are() -> None:
    pytest.importorskip("timm")
    backbone = build_backbone(_cfg("timm:test_vit")).eval()
    images = torch.zeros(1, 3, 256, 128)
    with torch.inference_mode():
        tokens = backbone.model.forward_features(images)
        maps = backbone(images)
    for row, column in ((0, 0), (3, 5), (15, 7)):
        assert torch.allclose(maps[0, :, row, column], tokens[0, 1 + row * 8 + column], atol=1e-6)


def test_timm_weights_from_a_file_fit_another_image_size(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    published = timm.create_model("test_vit")
    torch.save(published.state_dict(), tmp_path / "vit.pth")
    backbone = build_backbone(_cfg("timm:test_vit", PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "vit.pth")))
    assert torch.equal(backbone.model.blocks[0].attn.qkv.weight, published.blocks[0].attn.qkv.weight)
    assert backbone.model.pos_embed.shape[1] == 16 * 8 + 1
    torch.save(backbone.state_dict(), tmp_path / "ours.pth")
    load_pretrained(backbone, tmp_path / "ours.pth")


def test_unknown_timm_model_lists_close_matches() -> None:
    pytest.importorskip("timm")
    with pytest.raises(RegistryError, match="timm:resnet50"):
        build_backbone(_cfg("timm:resnet_50"))


def test_unknown_backbone_lists_close_matches() -> None:
    with pytest.raises(RegistryError, match="build_resnet_backbone"):
        build_backbone(_cfg("build_resnt_backbone"))
