"""The vision transformer: sizes of images, patches that overlap, rates, and published weights."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.backbones import BACKBONES, PretrainedError, ViT, build_backbone, load_pretrained
from fastreid_ext.modeling.backbones.vit import VARIANTS
from fastreid_ext.modeling.last_layers import last_activations


@pytest.fixture(autouse=True)
def _small_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "tiny", replace(VARIANTS["base"], layers=3, heads=2, width=24))
    monkeypatch.setitem(VARIANTS, "tiny-scaled", replace(VARIANTS["small"], layers=3, heads=2, width=24))


def config(**backbone: Any) -> CfgNode:
    cfg = get_cfg()
    node = {"NAME": "build_vit_backbone", "DEPTH": "tiny", **backbone}
    cfg.merge_from_mapping({"MODEL": {"BACKBONE": node, "DEVICE": "cpu"}, "INPUT": {"SIZE_TRAIN": [64, 32]}})
    return cfg


def published() -> dict[str, Tensor]:
    """Weights as timm's models of square images have them."""
    model = timm.create_model("vit_base_patch16_224", embed_dim=24, depth=3, num_heads=2, img_size=48, num_classes=5)
    state: dict[str, Tensor] = model.state_dict()
    return state


@pytest.mark.parametrize(("depth", "millions"), [("small", 48.0), ("base", 85.8)])
def test_the_class_token_is_the_map(depth: str, millions: float) -> None:
    with torch.device("meta"):
        backbone = ViT(depth=depth, image_size=(224, 224)).eval()
        assert backbone(torch.empty(2, 3, 224, 224)).shape == (2, 768, 1, 1)
    assert backbone.feature_dim == 768
    assert sum(parameter.numel() for parameter in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert BACKBONES.get("ViT") is ViT


def test_equals_timm_with_its_weights() -> None:
    state = published()
    backbone = ViT(depth="tiny", image_size=(48, 48)).eval()
    model = timm.create_model("vit_base_patch16_224", embed_dim=24, depth=3, num_heads=2, img_size=48, num_classes=5)
    model.load_state_dict(state)
    backbone.load_state_dict({key: value for key, value in state.items() if not key.startswith("head.")})
    images = torch.randn(2, 3, 48, 48)
    expected = model.eval().forward_features(images)[:, 0]
    assert torch.allclose(backbone(images).flatten(1), expected, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    for depth in ("tiny", "tiny-scaled"):
        backbone = ViT(depth=depth, image_size=(64, 32), drop_path=0.1, dropout=0.1, attention_dropout=0.1).train()
        backbone(torch.randn(4, 3, 64, 32)).square().sum().backward()
        assert not [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def test_attention_is_scaled_by_the_width_where_the_weights_were_trained_so() -> None:
    block: Any = ViT(depth="tiny-scaled", image_size=(32, 32)).eval().blocks[0]
    tokens = torch.randn(1, 3, 24)
    q, k, v = block.attn.qkv(tokens).view(3, 3, 2, 12).permute(1, 2, 0, 3)
    weights = (q @ k.mT / 24**0.5).softmax(-1)
    expected = block.attn.proj((weights @ v).transpose(0, 1).reshape(1, 3, 24))
    assert torch.allclose(block.attn(tokens), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("stride", "grid"), [((16, 16), (4, 2)), ((12, 12), (5, 2)), ((8, 4), (7, 5)), ((20, 20), (3, 1))]
)
def test_patches_overlap_by_stride(stride: tuple[int, int], grid: tuple[int, int]) -> None:
    backbone = build_backbone(config(STRIDE_SIZE=stride))
    assert backbone.grid == grid
    assert backbone.pos_embed.shape == (1, 1 + grid[0] * grid[1], 24)
    assert backbone(torch.randn(1, 3, 64, 32)).shape == (1, 24, 1, 1)


def test_images_of_another_size_get_interpolated_position_embeddings() -> None:
    backbone = ViT(depth="tiny", image_size=(32, 32)).eval()
    with torch.no_grad():
        # Embeddings that grow downwards: those of rows in between lie in between.
        backbone.pos_embed[0, 1:] = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None]
    larger = ViT(depth="tiny", image_size=(64, 32)).eval()
    rows = torch.tensor([0.0, 0.25, 0.75, 1.0]).repeat_interleave(2)[:, None].expand(8, 24)
    state = backbone.state_dict() | {"pos_embed": torch.cat([backbone.pos_embed[0, :1], rows])[None]}
    larger.load_state_dict(state)
    images = torch.randn(2, 3, 64, 32)
    assert torch.allclose(backbone(images), larger(images), atol=1e-6)


def test_rates_are_those_of_the_config() -> None:
    backbone: Any = build_backbone(config(DROP_PATH_RATIO=0.2, DROP_RATIO=0.3, ATT_DROP_RATE=0.4))
    blocks = backbone.blocks
    assert [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks] == pytest.approx([0.0, 0.1, 0.2])
    assert backbone.pos_drop.p == blocks[0].attn.proj_drop.p == blocks[0].mlp.drop1.p == blocks[0].mlp.drop2.p == 0.3
    assert blocks[0].attn.attn_drop.p == 0.4


def test_switches_that_change_nothing_are_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    build_backbone(config())
    assert not caplog.records
    build_backbone(config(WITH_IBN=True, SIE_COE=1.5))
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "MODEL.BACKBONE.WITH_IBN changes nothing",
        "MODEL.BACKBONE.SIE_COE changes nothing",
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ViT(depth="huge"), "ViT has no depth 'huge'"),
        (lambda: ViT(depth="tiny", stride=(0, 16)), r"STRIDE_SIZE is \(0, 16\)"),
        (lambda: ViT(depth="tiny", stride=(16,)), "two numbers of pixels"),
        (lambda: ViT(depth="tiny", image_size=(64, 8)), "16x16 pixels, but these have 64x8: set INPUT.SIZE_TRAIN"),
        (lambda: ViT(depth="tiny")(torch.randn(1, 3, 8, 32)), "these have 8x32: set INPUT.SIZE_TRAIN"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_published_weights_fit_another_size_of_images(tmp_path: Path) -> None:
    state = published()
    torch.save({"model": {**state, "pre_logits.fc.weight": torch.zeros(1)}}, tmp_path / "vit.pth")
    backbone = build_backbone(config(PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "vit.pth")))
    assert torch.equal(backbone.blocks[0].attn.qkv.weight, state["blocks.0.attn.qkv.weight"])
    assert torch.equal(backbone.pos_embed[:, 0], state["pos_embed"][:, 0])
    # Two columns of three lie a quarter of a patch outside the middle of the outer ones.
    top = state["pos_embed"][0, 1:4]
    assert torch.allclose(backbone.pos_embed[0, 1], top[0] * 0.75 + top[1] * 0.25, atol=1e-6)
    torch.save(backbone.state_dict(), tmp_path / "ours.pth")
    load_pretrained(backbone, tmp_path / "ours.pth")


def test_distilled_weights_lose_their_second_token() -> None:
    state = published()
    positions = torch.arange(11.0)[None, :, None].expand(1, 11, 24)
    more = {"dist_token": torch.zeros(1, 1, 24), "head_dist.weight": torch.zeros(5, 24), "pos_embed": positions}
    backbone = ViT(depth="tiny", image_size=(48, 48))
    converted = backbone.convert_weights({**state, **more})
    assert converted["pos_embed"][0, :, 0].tolist() == [0, *range(2, 11)]
    assert not {"dist_token", "head_dist.weight"} & converted.keys()


def test_linear_patches_of_old_files_become_convolutions() -> None:
    weight = torch.randn(24, 3, 16, 16)
    converted = ViT(depth="tiny", image_size=(48, 48)).convert_weights({"patch_embed.proj.weight": weight.flatten(1)})
    assert torch.equal(converted["patch_embed.proj.weight"], weight)


def test_weights_of_another_grid_that_is_no_square_are_refused(tmp_path: Path) -> None:
    torch.save(ViT(depth="tiny", image_size=(96, 32)).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(PretrainedError, match=r"of 12 patches, which make no square: set INPUT\.SIZE_TRAIN"):
        build_backbone(config(PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "vit.pth")))


def test_weights_are_fetched_or_named() -> None:
    with torch.device("meta"):
        base, small = ViT(depth="base").official_weights(), ViT(depth="small").official_weights()
    assert base.fetch is not None and "jx_vit_base_p16_224" in base.where
    assert timm.is_model_pretrained("vit_base_patch16_224.orig_in21k_ft_in1k")
    assert small.fetch is None and "vit_small_p16_224" in small.where


def test_there_is_no_last_relu() -> None:
    cfg = config()
    cfg.merge_from_mapping({"MODEL": {"HEADS": {"POOL_LAYER": "Identity", "NUM_CLASSES": 2}}})
    model = build_model(cfg).eval()
    assert model(torch.zeros(1, 3, 64, 32)).shape == (1, 24)
    with pytest.raises(ConfigError, match=r"the last map of ViT .* is not the output of one: turn TEST\.LEAKY_RELU"):
        last_activations(model)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.models.vision_transformer", None)
    with pytest.raises(ImportError, match=r"the backbone ViT needs the package 'timm': pip install .*\[zoo\]"):
        ViT(depth="tiny")
