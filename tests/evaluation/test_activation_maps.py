"""Maps of where a model looks."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.config import load_config
from fastreid_ext.evaluation.activation_maps import NoMapError, activation_maps
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.backbones import vit

IMAGES = torch.zeros(2, 3, 64, 32, dtype=torch.uint8)


class Given(nn.Module):
    """A backbone whose map is known."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, _images: Tensor) -> Any:
        return self.output


class Model(nn.Module):
    """Any model of parts: it need not be one of ours."""

    def __init__(self, *outputs: Any, names: tuple[str, ...] = ("backbone",)) -> None:
        super().__init__()
        if names != ("backbone",):
            self.map_parts = names
        for name, output in zip(names, outputs, strict=True):
            self.add_module(name, Given(output))

    def forward(self, batch: Tensor) -> Tensor:
        for part in self.children():
            part(batch)
        return torch.zeros(len(batch), 1)


def built(*options: Any) -> nn.Module:
    sizes = ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "MODEL.HEADS.NUM_CLASSES", 2]
    return build_model(load_config("", ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, *sizes, *options]))


def test_energies_are_sums_of_squares_over_channels() -> None:
    features = torch.zeros(2, 3, 2, 2)
    features[0, :, 0, 1] = torch.tensor([3.0, -4.0, 0.0])
    features[0, 1, 1, 0] = 1.0
    features[1, 2, 1, 1] = -2.0
    expected = torch.tensor([[[0.0, 1.0], [1 / 25, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    for output in (features, {"last": features, "other": torch.ones(2, 1, 1, 1)}):
        assert torch.allclose(activation_maps(Model(output), IMAGES), expected)


def test_an_even_map_is_nothing_to_see() -> None:
    for value in (0.0, 2.0):
        assert activation_maps(Model(torch.full((2, 3, 2, 2), value)), IMAGES).sum() == 0


def test_several_maps_have_equal_say() -> None:
    loud, quiet = torch.zeros(2, 1, 2, 1), torch.zeros(2, 1, 4, 1)
    loud[:, :, 0], quiet[:, :, 3] = 1000.0, 0.001
    together = activation_maps(Model(loud, quiet, names=("b1", "b2")), IMAGES)[0, :, 0]
    # The small map's energy is spread over two rows of the large one.
    assert together.shape == (4,) and together[3] == 1 and together[0] > 0.2 and together[2] < together[0]


def test_a_model_is_left_as_it_was() -> None:
    model = Model(torch.ones(2, 1, 2, 2)).train()
    activation_maps(model, IMAGES)
    assert model.training and not model.backbone._forward_hooks


def test_what_has_no_map_is_refused() -> None:
    with pytest.raises(NoMapError, match="Given has one position only"):
        activation_maps(Model(torch.ones(2, 8, 1, 1)), IMAGES)
    for output in (torch.ones(2, 8), {"first": torch.ones(2, 8, 2, 2)}, None):
        with pytest.raises(NoMapError, match="Given of Model gives no map"):
            activation_maps(Model(output), IMAGES)
    with pytest.raises(NoMapError, match="Model has no part trunk"):
        model = Model(None)
        model.map_parts = ("trunk",)
        activation_maps(model, IMAGES)


@pytest.mark.parametrize(
    "options",
    [
        ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"],
        ["MODEL.BACKBONE.NAME", "build_repvgg_backbone", "MODEL.BACKBONE.DEPTH", "A0"],
        ["MODEL.BACKBONE.NAME", "timm:vit_tiny_patch16_224"],
        ["PROJECTS", ["msinet"], "MODEL.BACKBONE.NAME", "MSINet"],
        ["MODEL.META_ARCHITECTURE", "MGN", "MODEL.BACKBONE.DEPTH", "18x"],
    ],
    ids=["OSNet", "RepVGG", "tokens", "MSINet", "MGN"],
)
def test_models_have_maps(options: list[Any]) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    maps = activation_maps(built(*options), images)
    assert maps.shape == (2, 4, 2) and not torch.equal(maps[0], maps[1])
    assert torch.equal(maps.amin((1, 2)), torch.zeros(2)) and torch.equal(maps.amax((1, 2)), torch.ones(2))


@pytest.mark.parametrize("scale_of_width", [True, False])
def test_a_class_token_tells_what_it_attends_to(monkeypatch: pytest.MonkeyPatch, scale_of_width: bool) -> None:
    variant = vit.Variant(2, 2, 2.0, True, scale_of_width, "nowhere", width=32)
    monkeypatch.setitem(vit.VARIANTS, "tiny", variant)
    model = built("MODEL.BACKBONE.NAME", "ViT", "MODEL.BACKBONE.DEPTH", "tiny", "MODEL.HEADS.POOL_LAYER", "Identity")
    last: Any = model.get_submodule("backbone.blocks.1.attn")
    # Wide apart, so that attention is not all but even.
    nn.init.normal_(last.qkv.weight)
    weights: list[Tensor] = []
    last.fused_attn = False
    last.attn_drop.register_forward_hook(lambda _module, _inputs, output: weights.append(output))
    maps = activation_maps(model, torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8))
    expected = weights[-1][:, :, 0, 1:].mean(1).view(2, 4, 2)
    expected = expected - expected.amin((1, 2), keepdim=True)
    assert torch.allclose(maps, expected / expected.amax((1, 2), keepdim=True), atol=1e-5)
