"""Names and shapes of the authors' networks, written down here once more, are those of the configs."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.config import load_config
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.checkpoint import CheckpointError, load_weights
from fastreid_ext.modeling.meta_arch import Baseline, ReIDModel
from fastreid_ext.projects.adasp import checkpoint_filter

CLASSES = 5
Shapes = dict[str, tuple[int, ...]]


def norm(name: str, width: int, *, instance: bool = False) -> Shapes:
    if instance:
        halves = {f"{name}.IN.{part}": (width // 2,) for part in ("weight", "bias")}
        return halves | norm(f"{name}.BN", width // 2)
    statistics = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return statistics | {f"{name}.num_batches_tracked": ()}


def bottleneck(name: str, inputs: int, width: int, *, ibn: bool, downsample: bool) -> Shapes:
    shapes = {f"{name}.conv1.weight": (width, inputs, 1, 1), **norm(f"{name}.bn1", width, instance=ibn)}
    shapes |= {f"{name}.conv2.weight": (width, width, 3, 3), **norm(f"{name}.bn2", width)}
    shapes |= {f"{name}.conv3.weight": (4 * width, width, 1, 1), **norm(f"{name}.bn3", 4 * width)}
    if downsample:
        shapes |= {f"{name}.downsample.0.weight": (4 * width, inputs, 1, 1), **norm(f"{name}.downsample.1", 4 * width)}
    return shapes


def layer(names: Iterator[str], inputs: int, width: int, *, ibn: bool) -> Shapes:
    shapes = bottleneck(next(names), inputs, width, ibn=ibn, downsample=True)
    for name in names:
        shapes |= bottleneck(name, 4 * width, width, ibn=ibn, downsample=False)
    return shapes


def head(name: str, inputs: int, embedding: int) -> Shapes:
    shapes: Shapes = {f"{name}.pool_layer.p": (1,), f"{name}.weight": (CLASSES, embedding or inputs)}
    if embedding:
        shapes[f"{name}.bottleneck.0.weight"] = (embedding, inputs, 1, 1)
    return shapes | norm(f"{name}.bottleneck.{1 if embedding else 0}", embedding or inputs)


def one_branch() -> Shapes:
    shapes = {"backbone.conv1.weight": (64, 3, 7, 7), **norm("backbone.bn1", 64)}
    for stage, (blocks, inputs) in enumerate(zip((3, 4, 6, 3), (64, 256, 512, 1024), strict=True)):
        names = (f"backbone.layer{stage + 1}.{block}" for block in range(blocks))
        shapes |= layer(names, inputs, 64 << stage, ibn=stage < 3)
    return shapes | head("heads", 2048, 0)


def mgn() -> Shapes:
    shapes = {"backbone.0.weight": (64, 3, 7, 7), **norm("backbone.1", 64)}
    shapes |= layer((f"backbone.4.{block}" for block in range(3)), 64, 64, ibn=True)
    shapes |= layer((f"backbone.5.{block}" for block in range(4)), 256, 128, ibn=True)
    shapes |= bottleneck("backbone.6", 512, 256, ibn=True, downsample=True)
    for branch in ("b1", "b2", "b3"):
        for block in range(5):
            shapes |= bottleneck(f"{branch}.0.{block}", 1024, 256, ibn=True, downsample=False)
        shapes |= layer((f"{branch}.1.{block}" for block in range(3)), 1024, 512, ibn=False)
    for name in ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33"):
        shapes |= head(f"{name}_head", 2048, 256)
    return shapes


def configured(name: str) -> ReIDModel:
    options = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", CLASSES]
    with torch.device("meta"):
        model = build_model(load_config(f"adasp/{name}", options))
    assert isinstance(model, ReIDModel)
    return model


@pytest.mark.parametrize(("config", "shapes"), [("veri", one_branch()), ("msmt17", mgn())], ids=["one branch", "MGN"])
def test_names_and_shapes_are_theirs(config: str, shapes: Shapes) -> None:
    model = configured(config)
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    report = load_weights(model, {"model": weights, "epoch": 59, "metric": 82.7}, for_inference=True)
    assert report.fits, report
    assert report.filter == ""
    assert report.loaded == len(shapes)


def test_blocks_are_theirs() -> None:
    block = configured("veri").backbone.get_submodule("layer1.0").to_empty(device="cpu").eval()
    shapes = bottleneck("block", 64, 64, ibn=True, downsample=True)
    weights = {name.removeprefix("block."): torch.rand(shape) + 0.1 for name, shape in shapes.items()}
    block.load_state_dict(weights)
    x = torch.rand(2, 64, 6, 4)

    def batch_norm(name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (weights[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    first = F.conv2d(x, weights["conv1.weight"])
    halves = [
        F.instance_norm(first[:, :32], weight=weights["bn1.IN.weight"], bias=weights["bn1.IN.bias"]),
        batch_norm("bn1.BN", first[:, 32:]),
    ]
    y = batch_norm("bn2", F.conv2d(torch.cat(halves, 1).relu(), weights["conv2.weight"], padding=1)).relu()
    y = batch_norm("bn3", F.conv2d(y, weights["conv3.weight"]))
    expected = (y + batch_norm("downsample.1", F.conv2d(x, weights["downsample.0.weight"]))).relu()
    with torch.no_grad():
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


class Pooled(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def test_their_extra_norm_is_refused_where_nothing_takes_it() -> None:
    backbone = nn.Conv2d(3, 4, 1)
    weights = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    extra = {f"heads_extra_bn.{name}": value for name, value in nn.BatchNorm2d(4).state_dict().items()}
    model = Baseline(backbone=backbone, heads=Pooled())
    with pytest.raises(CheckpointError, match=r"EXTRA_BN .* Baseline does not have: .*heads_extra_bn\.weight"):
        load_weights(model, weights | extra)
    model.heads_extra_bn = nn.BatchNorm2d(4)
    assert checkpoint_filter(weights | extra, model) is None
    assert load_weights(model, weights | extra, for_inference=True).fits
