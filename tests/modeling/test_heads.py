from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, normalize

from fastreid_ext.config import get_cfg
from fastreid_ext.modeling.heads import EmbeddingHead, build_heads
from fastreid_ext.modeling.layers.cls import CosSoftmax
from fastreid_ext.registry import RegistryError

PIDS = torch.tensor([0, 1, 2, 0, 1, 2])


def maps(channels: int = 8) -> Tensor:
    return torch.rand(6, channels, 4, 2, generator=torch.Generator().manual_seed(0))


def head(**options: Any) -> EmbeddingHead:
    torch.manual_seed(0)
    return EmbeddingHead(feature_dim=8, num_classes=3, **options)


@pytest.mark.parametrize("embedding_dim", [0, 5])
@pytest.mark.parametrize("with_bnneck", [False, True])
@pytest.mark.parametrize("neck_feat", ["before", "after"])
def test_shapes(embedding_dim: int, with_bnneck: bool, neck_feat: str) -> None:
    module = head(embedding_dim=embedding_dim, with_bnneck=with_bnneck, neck_feat=neck_feat)
    width = embedding_dim or 8
    outputs = module(maps(), PIDS)
    assert outputs["cls_outputs"].shape == outputs["pred_class_logits"].shape == (6, 3)
    assert outputs["features"].shape == (6, width if neck_feat == "after" else 8)
    assert module.eval()(maps()).shape == (6, width)
    assert module.embedding_dim == width


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"weight"}),
        ({"embedding_dim": 5}, {"weight", "bottleneck.0.weight"}),
        (
            {"embedding_dim": 5, "with_bnneck": True, "pool_layer": "GeneralizedMeanPoolingP"},
            {"weight", "pool_layer.p", "bottleneck.0.weight"}
            | {f"bottleneck.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
            | {"bottleneck.1.num_batches_tracked"},
        ),
        (
            {"with_bnneck": True},
            {"weight", "bottleneck.0.num_batches_tracked"}
            | {f"bottleneck.0.{name}" for name in ("weight", "bias", "running_mean", "running_var")},
        ),
    ],
)
def test_state_names_are_those_of_fastreid(options: dict[str, Any], names: set[str]) -> None:
    assert set(head(**options).state_dict()) == names


@pytest.mark.parametrize("norm", ["BN", "GN", "GhostBN", "FrozenBN"])
def test_the_bias_of_the_neck_is_zero_and_stays(norm: str) -> None:
    torch.manual_seed(0)
    module = EmbeddingHead(feature_dim=32, num_classes=3, with_bnneck=True, norm=norm)
    module(maps(32), PIDS)["cls_outputs"].sum().backward()
    bias = module.bottleneck[0].bias
    assert isinstance(bias, torch.nn.Parameter)
    assert not bias.requires_grad and not bias.any()


def test_neck_feat_selects_the_feature_of_metric_losses() -> None:
    pooled = maps().mean((2, 3))
    before = head(embedding_dim=5, with_bnneck=True, neck_feat="before")(maps(), PIDS)["features"]
    torch.testing.assert_close(before, pooled)
    module = head(embedding_dim=5, with_bnneck=True, neck_feat="after")
    reduced = pooled @ module.get_parameter("bottleneck.0.weight").flatten(1).T
    expected = (reduced - reduced.mean(0)) / (reduced.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(module(maps(), PIDS)["features"], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="NECK_FEAT"):
        head(neck_feat="middle")


def test_logits_with_and_without_margin() -> None:
    module = head(cls_layer=CosSoftmax(3, 16.0, 0.35))
    outputs = module(maps(), PIDS)
    cosines = linear(normalize(outputs["features"]), normalize(module.weight))
    torch.testing.assert_close(outputs["pred_class_logits"], 16 * cosines)
    margins = 0.35 * torch.eye(3)[PIDS]
    torch.testing.assert_close(outputs["cls_outputs"], 16 * (cosines - margins))
    plain = head()(maps(), PIDS)
    torch.testing.assert_close(plain["cls_outputs"], linear(plain["features"], head().weight))


def test_autocast_does_not_coarsen_cosines() -> None:
    module = head(cls_layer=CosSoftmax(3, 64.0, 0.35))
    with torch.autocast("cpu", torch.bfloat16):
        coarse = module(maps(), PIDS)["cls_outputs"]
    torch.testing.assert_close(coarse, module(maps(), PIDS)["cls_outputs"])


def test_every_parameter_learns() -> None:
    module = head(embedding_dim=5, with_bnneck=True, pool_layer="GeneralizedMeanPoolingP")
    module(maps(), PIDS)["cls_outputs"].square().sum().backward()
    for name, parameter in module.named_parameters():
        assert not parameter.requires_grad or (parameter.grad is not None and parameter.grad.any()), name


def test_of_several_maps_the_last_is_taken() -> None:
    module = head().eval()
    torch.testing.assert_close(module({"last": maps(), "middle": maps(3)}), module(maps()))


def test_pooling_must_leave_one_position() -> None:
    for name in ("Identity", "Flatten"):
        with pytest.raises(ValueError, match=f"pooling {name} .*POOL_LAYER"):
            head(pool_layer=name)(maps(), PIDS)
        pooled = maps().mean((2, 3), keepdim=True)
        torch.testing.assert_close(head(pool_layer=name, with_bnneck=True).eval()(pooled).shape, (6, 8))


def test_training_needs_classes_and_pids() -> None:
    classless = EmbeddingHead(feature_dim=8)
    with pytest.raises(ValueError, match="NUM_CLASSES"):
        classless(maps(), PIDS)
    assert classless.eval()(maps()).shape == (6, 8)
    with pytest.raises(ValueError, match="pids"):
        head()(maps())


def test_heads_are_built_from_the_config() -> None:
    cfg = get_cfg()
    heads = cfg.MODEL.HEADS
    heads.NUM_CLASSES, heads.EMBEDDING_DIM, heads.WITH_BNNECK, heads.NECK_FEAT = 3, 5, True, "after"
    heads.CLS_LAYER, heads.SCALE, heads.MARGIN, heads.POOL_LAYER = "CircleSoftmax", 64.0, 0.35, "GlobalMaxPool"
    module = build_heads(cfg, 8)
    assert isinstance(module, EmbeddingHead)
    assert module.weight.shape == (3, 5)
    assert (module.cls_layer.scale, module.cls_layer.margin, module.neck_feat) == (64.0, 0.35, "after")
    assert type(module.pool_layer).__name__ == "GlobalMaxPool"
    assert len(module.bottleneck) == 2
    heads.NAME = "EmbedingHead"
    with pytest.raises(RegistryError, match="Did you mean EmbeddingHead"):
        build_heads(cfg, 8)
