"""RepVGG: three branches in training, one convolution in inference, the same outputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_checks import check_switches, config, without_weights
from batch_norms import randomize_batch_norms
from torch import Tensor, nn

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.backbones import PretrainedError, RepVGG, load_pretrained, reparameterized
from fastreid_ext.modeling.backbones.repvgg import VARIANTS, FusedRepVGGBlock, RepVGGBlock
from fastreid_ext.modeling.folding import fold_batch_norms
from fastreid_ext.modeling.inference import prepare_for_inference

WIDTHS = {"A0": 1280, "A1": 1280, "A2": 1408, "B0": 1280, "B1": 2048, "B2": 2560, "B3": 2560}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    with caplog.at_level(logging.INFO, "fastreid_ext"):
        yield caplog


def _meta(**backbone: Any) -> Any:
    return without_weights("build_repvgg_backbone", **{"DEPTH": "A0", **backbone}).eval()


def _randomized(model: Any) -> Any:
    randomize_batch_norms(model)
    return model.eval()


@torch.no_grad()
def _assert_equal(found: nn.Module, expected: nn.Module, images: Any) -> None:
    wanted = expected(images)
    torch.testing.assert_close(found(images), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max().clamp(min=1)))


def _blocks(model: nn.Module) -> list[RepVGGBlock]:
    return [module for module in model.modules() if isinstance(module, RepVGGBlock)]


# As it is trained


@pytest.mark.parametrize("depth", VARIANTS)
def test_maps(depth: str) -> None:
    backbone = _meta(DEPTH=depth)
    width = WIDTHS[depth[:2]]
    assert backbone.feature_dim == width
    assert backbone(torch.empty(2, 3, 256, 128, device="meta")).shape == (2, width, 16, 8)
    assert backbone(torch.empty(2, 3, 225, 99, device="meta")).shape == (2, width, 15, 7)
    groups = [block.groups for block in _blocks(backbone)]
    assert len(groups) == (22 if depth.startswith("A") else 28)
    expected = int(depth[3:] or 1)
    assert groups == [expected if index % 2 == 0 and index else 1 for index in range(len(groups))]


def test_last_stride_two_halves_the_map() -> None:
    backbone = _meta(LAST_STRIDE=2)
    assert backbone(torch.empty(2, 3, 256, 128, device="meta")).shape == (2, 1280, 8, 4)


def test_state_names_are_the_authors() -> None:
    state = _meta(DEPTH="B1g4").state_dict()
    shapes = {
        "stage0.rbr_dense.conv.weight": (64, 3, 3, 3),
        "stage0.rbr_1x1.bn.running_mean": (64,),
        "stage1.0.rbr_dense.conv.weight": (128, 64, 3, 3),
        "stage1.1.rbr_dense.conv.weight": (128, 32, 3, 3),
        "stage1.1.rbr_1x1.conv.weight": (128, 32, 1, 1),
        "stage1.1.rbr_identity.weight": (128,),
        "stage4.0.rbr_dense.bn.num_batches_tracked": (),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    # Where the width or the size of the map changes, there is no identity.
    assert not any(key.startswith(("stage0.rbr_id", "stage1.0.rbr_id", "stage4.0.rbr_id")) for key in state)


def test_every_parameter_gets_a_gradient() -> None:
    network = RepVGG(depth="A0").train()
    network(torch.randn(2, 3, 32, 32)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without


def test_switches(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    check_switches("build_repvgg_backbone", "A0", caplog, monkeypatch)


def test_unknown_depth_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"RepVGG has no depth 'B1g8' .*Did you mean B1g"):
        _meta(DEPTH="B1g8")


def test_weights_are_files_of_the_authors(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PretrainedError, match=r"Download RepVGG-B1g2-train\.pth .*github\.com/DingXiaoH/RepVGG"):
        _meta(DEPTH="B1g2", PRETRAIN=True)
    reference = RepVGG(depth="A0").state_dict()
    torch.save(reference | {"linear.weight": torch.ones(1000, 1280)}, tmp_path / "weights.pth")
    backbone = RepVGG(depth="A0")
    load_pretrained(backbone, tmp_path / "weights.pth")
    assert all(torch.equal(value, reference[key]) for key, value in backbone.state_dict().items())
    assert "left out the classifier: linear.weight" in log.text


# As it infers


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (8, 2), (12, 1)])
def test_fused_blocks(outputs: int, stride: int, groups: int) -> None:
    block = _randomized(RepVGGBlock(8, outputs, stride=stride, groups=groups))
    assert (block.rbr_identity is not None) == (outputs == 8 and stride == 1)
    _assert_equal(block.fused(), block, torch.randn(2, 8, 7, 5))
    assert block.fused().fused_weight.shape == (outputs, 8 // groups, 3, 3)


@pytest.mark.parametrize(
    ("depth", "norm", "last_stride"), [("A0", "BN", 1), ("A0", "FrozenBN", 2), ("A1", "syncBN", 1)]
)
def test_reparameterized_networks(depth: str, norm: str, last_stride: int) -> None:
    model = RepVGG(depth=depth, norm=norm, last_stride=last_stride)
    randomize_batch_norms(model)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fused = reparameterized(model)
    assert model.training and model.stage0.rbr_dense.conv.weight.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not fused.training and not any(parameter.requires_grad for parameter in fused.parameters())
    names = [name for name, module in model.named_modules() if isinstance(module, RepVGGBlock)]
    assert list(fused.state_dict()) == [f"{name}.{part}" for name in names for part in ("fused_weight", "fused_bias")]
    images = torch.randn(2, 3, 64, 32)
    _assert_equal(fused, model.eval(), images)
    _assert_equal(reparameterized(fused), fused, images)


def test_deployed_states_are_loaded_into_deployed_networks() -> None:
    state = reparameterized(_randomized(RepVGG(depth="A0"))).state_dict()
    other = reparameterized(RepVGG(depth="A0"))
    other.load_state_dict(state, strict=True)
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


def _baseline() -> Any:
    cfg = config("build_repvgg_backbone", DEPTH="A0")
    cfg.MODEL.HEADS.NUM_CLASSES = 3
    return _randomized(build_model(cfg))


def _images() -> dict[str, Tensor]:
    return {"images": torch.randint(0, 256, (2, 3, 64, 32)).float()}


def test_whole_models() -> None:
    model = _baseline()
    fused, batch = reparameterized(model), _images()
    assert not _blocks(fused) and len(_blocks(model)) == 22
    _assert_equal(fused, model, batch)
    heads = {key for key in model.state_dict() if key.startswith("heads.")}
    assert heads == {key for key in fused.state_dict() if not key.startswith("backbone.")}


def test_preparing_for_inference_fuses_the_blocks() -> None:
    model = _baseline()
    prepared = prepare_for_inference(model)
    blocks = [module for module in prepared.modules() if isinstance(module, FusedRepVGGBlock)]
    assert len(blocks) == 22 and not _blocks(prepared)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.backbone.modules())
    _assert_equal(prepared, model, _images())
    _assert_equal(reparameterized(fold_batch_norms(model)), model, _images())


def test_blocks_that_are_not_linear_stay() -> None:
    class Doubled(RepVGGBlock):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    block = RepVGGBlock(32, 32, norm="GN")
    with pytest.raises(ValueError, match=r"with GroupNorm is no single convolution.*MODEL\.BACKBONE\.NORM"):
        reparameterized(nn.Sequential(block))
    for kept in (block, Doubled(4, 4)):
        prepared = prepare_for_inference(nn.Sequential(kept))
        assert type(prepared[0]) is type(kept)
        _assert_equal(prepared, nn.Sequential(kept).eval(), torch.randn(2, kept.rbr_dense.conv.in_channels, 5, 5))
