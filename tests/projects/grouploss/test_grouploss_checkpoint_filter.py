"""Weights of the authors' networks, whose names, shapes and forward pass are written down here once more."""

import logging

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from fastreid_ext.modeling.backbones import BNInception, DenseNet
from fastreid_ext.modeling.checkpoint import CheckpointError, load_weights
from fastreid_ext.modeling.heads import EmbeddingHead
from fastreid_ext.modeling.meta_arch import Baseline
from fastreid_ext.projects.grouploss import checkpoint_filter

CLASSES = 9
# 1x1; 3x3 reduction, 3x3; double reduction, double (twice); projection.
BLOCKS = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
Weights = dict[str, Tensor]


def inception_weights() -> Weights:
    shapes = [("conv1_7x7_s2", 3, 64, 7), ("conv2_3x3_reduce", 64, 64, 1), ("conv2_3x3", 64, 192, 3)]
    inputs = 192
    for block, (single, reduce, wide, double_reduce, double, projection) in BLOCKS.items():
        name = f"inception_{block}"
        shapes += [
            (f"{name}_3x3_reduce", inputs, reduce, 1),
            (f"{name}_3x3", reduce, wide, 3),
            (f"{name}_double_3x3_reduce", inputs, double_reduce, 1),
            (f"{name}_double_3x3_1", double_reduce, double, 3),
            (f"{name}_double_3x3_2", double, double, 3),
        ]
        if single:
            shapes += [(f"{name}_1x1", inputs, single, 1), (f"{name}_pool_proj", inputs, projection, 1)]
        inputs = single + wide + double + (projection or inputs)
    weights: Weights = {}
    for name, inner, outer, size in shapes:
        weights[f"{name}.weight"] = torch.randn(outer, inner, size, size) * (inner * size * size) ** -0.5
        weights[f"{name}.bias"] = torch.randn(outer)
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}_bn.{part}"] = torch.rand(outer) + 0.5
        weights[f"{name}_bn.num_batches_tracked"] = torch.tensor(3)
    return weights | {"last_linear.weight": torch.randn(CLASSES, 1024), "last_linear.bias": torch.randn(CLASSES)}


def run_inception(weights: Weights, images: Tensor) -> Tensor:
    """Average of the last map of BGR images of sides that are even throughout."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = weights[f"{name}.weight"]
        x = F.conv2d(x, kernel, weights[f"{name}.bias"], stride, kernel.shape[-1] // 2)
        mean, var, weight, bias = (
            weights[f"{name}_bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias).relu()

    x = F.max_pool2d(conv("conv1_7x7_s2", images, 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(conv("conv2_3x3", conv("conv2_3x3_reduce", x)), 3, 2, ceil_mode=True)
    for block, (single, *_) in BLOCKS.items():
        name, stride = f"inception_{block}", 1 if single else 2
        wide = conv(f"{name}_3x3", conv(f"{name}_3x3_reduce", x), stride)
        double = conv(f"{name}_double_3x3_1", conv(f"{name}_double_3x3_reduce", x))
        branches = [wide, conv(f"{name}_double_3x3_2", double, stride)]
        if single:
            pooled = F.max_pool2d(x, 3, 1, 1) if block == "5b" else F.avg_pool2d(x, 3, 1, 1)
            branches = [conv(f"{name}_1x1", x), *branches, conv(f"{name}_pool_proj", pooled)]
        else:
            branches.append(F.max_pool2d(x, 3, 2, ceil_mode=True))
        x = torch.cat(branches, 1)
    return x.mean((2, 3))


def densenet() -> torchvision.models.DenseNet:
    """Theirs is torchvision's, with a classifier of its own."""
    network = torchvision.models.densenet121(num_classes=CLASSES).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


def model(backbone: nn.Module, *, mean: float = 128, classes: int = CLASSES, embedding: int = 0) -> Baseline:
    dim = int(backbone.feature_dim)
    heads = EmbeddingHead(feature_dim=dim, num_classes=classes, embedding_dim=embedding)
    return Baseline(backbone=backbone, heads=heads, pixel_mean=(mean, 117, 104)).eval()


def bgr(images: Tensor) -> Tensor:
    return (images - torch.tensor([128.0, 117.0, 104.0]).view(3, 1, 1)).flip(1)


@pytest.fixture(scope="module")
def inception() -> Weights:
    torch.manual_seed(0)
    return inception_weights()


def test_bn_inception_is_theirs_turned_to_rgb(inception: Weights) -> None:
    ours = model(BNInception())
    report = load_weights(ours, inception, for_inference=True)
    assert report.filter == "grouploss"
    assert report.fits
    torch.testing.assert_close(ours.heads.weight.detach(), inception["last_linear.weight"])
    images = torch.rand(2, 3, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(ours(images), run_inception(inception, bgr(images)), rtol=1e-4, atol=1e-4)


def test_densenets_are_theirs_turned_to_rgb() -> None:
    network, ours = densenet(), model(DenseNet(last_stride=2))
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    assert load_weights(ours, state, for_inference=True).fits
    images = torch.rand(2, 3, 32, 32) * 255
    with torch.no_grad():
        expected = network.features(bgr(images)).relu().mean((2, 3))
        torch.testing.assert_close(ours(images), expected, rtol=1e-4, atol=1e-4)


def test_classifiers_of_other_classes_are_left_out(inception: Weights) -> None:
    report = load_weights(model(BNInception(), classes=CLASSES + 1), inception, for_inference=True)
    assert report.missing == ["heads.weight"]
    assert not report.unexpected
    assert not report.other_shape


def test_other_pixels_are_warned_of(inception: Weights, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        checkpoint_filter(inception, model(BNInception(), mean=128))
        assert not caplog.records
        checkpoint_filter(inception, model(BNInception(), mean=123.675))
    assert 'MODEL.PIXEL_MEAN "[128, 117, 104]" MODEL.PIXEL_STD "[1, 1, 1]"' in caplog.text


def test_their_embedding_layer_is_left_with_its_name(inception: Weights) -> None:
    embedded = {f"inception.{name}": value for name, value in inception.items()}
    layers = {"embed": nn.Linear(1024, 64), "fc": nn.Linear(64, CLASSES)}
    embedded |= {
        f"{name}.{part}": value for name, layer in layers.items() for part, value in layer.state_dict().items()
    }
    ours = model(BNInception(), embedding=64)
    report = load_weights(ours, embedded)
    assert report.unexpected == ["embed.weight", "embed.bias"]
    assert report.missing == ["heads.bottleneck.0.weight"]
    torch.testing.assert_close(ours.heads.weight.detach(), layers["fc"].weight.detach())
    with pytest.raises(CheckpointError, match=r"heads\.bottleneck\.0\.weight.*passed over: embed\.weight, embed\.bias"):
        load_weights(ours, embedded, for_inference=True)


def test_a_model_of_other_layers_leaves_them_their_names(inception: Weights) -> None:
    with pytest.raises(CheckpointError, match=r"no weight of the backbone fits.*passed over: conv1_7x7_s2\.weight"):
        load_weights(model(DenseNet()), inception)


@pytest.mark.parametrize(
    "shapes",
    [
        {"features.conv0.weight": (64, 3, 7, 7), "classifier.weight": (1000, 1024)},
        {"conv1.weight": (64, 3, 7, 7), "fc.weight": (CLASSES, 2048)},
        {"conv1_7x7_s2.weight": (64, 3, 7, 7)},
    ],
    ids=["ImageNet DenseNet", "ResNet", "backbone of ours"],
)
def test_networks_that_take_rgb_are_left_alone(shapes: dict[str, tuple[int, ...]]) -> None:
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    assert checkpoint_filter(weights, nn.Module()) is None
