"""Weights of the authors' MSINet, whose names and layers are written down here once more."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.modeling.checkpoint import CheckpointError, load_weights
from fastreid_ext.modeling.heads import EmbeddingHead
from fastreid_ext.modeling.meta_arch import Baseline
from fastreid_ext.projects.msinet import MSINet, SpatialAlignmentModule, TwoBranchHead, checkpoint_filter

CHANNELS = (16, 64, 80, 128)
CLASSES = 7
OPERATIONS = ("ag", "ag", "exc", "ag", "cross_att", "ag", "ag", "none", "ag", "cross_att", "exc", "cross_att")


def plain(inputs: int, outputs: int, size: int = 1, stride: int = 1) -> nn.ModuleDict:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.ModuleDict({"conv": conv, "bn": nn.BatchNorm2d(outputs)})


def light(channels: int) -> nn.ModuleDict:
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    first = nn.Conv2d(channels, channels, 1, bias=False)
    return nn.ModuleDict({"conv1": first, "conv2": depthwise, "bn": nn.BatchNorm2d(channels)})


def operation(name: str, channels: int) -> nn.Module:
    module = nn.ModuleDict()
    if name == "ag":
        hidden = channels // 16
        module.update({"fc1": nn.Conv2d(channels, hidden, 1), "fc2": nn.Conv2d(hidden, channels, 1)})
    if name == "cross_att":
        module.gamma = nn.Parameter(torch.rand(1))
    return module


def cell(inputs: int, outputs: int, first: str, second: str) -> nn.ModuleDict:
    inner = outputs // 4
    parts: dict[str, nn.Module] = {"_op2": operation(first, inner), "_op3": operation(second, inner)}
    for step in (2, 3):
        parts |= {f"conv{step}a": light(inner), f"conv{step}b": nn.ModuleList(light(inner) for _ in range(3))}
    for branch in "ab":
        parts |= {f"conv1{branch}": plain(inputs, inner), f"conv4{branch}": plain(inner, outputs)}
    if inputs != outputs:
        parts["downsample"] = plain(inputs, outputs)
    return nn.ModuleDict(parts)


class Authors(nn.Module):
    """The network under the authors' names, with weights that tell layers apart."""

    def __init__(self, *, whole: bool = True) -> None:
        super().__init__()
        self.conv1 = plain(3, CHANNELS[0], 7, 2)
        self.cells = nn.ModuleList()
        for stage in range(3):
            inputs, outputs = CHANNELS[stage : stage + 2]
            a, b, c, d = OPERATIONS[4 * stage : 4 * stage + 4]
            self.cells.extend([cell(inputs, outputs, a, b), cell(outputs, outputs, c, d)])
            if stage < 2:
                self.cells.append(nn.ModuleList([plain(outputs, outputs)]))
        if whole:
            last = CHANNELS[-1]
            self.head, self.fc = nn.BatchNorm1d(last), nn.Linear(last, last, bias=False)
            self.f_conv = nn.Conv2d(CHANNELS[-2], 128, 1)
            self.f_head, self.f_fc = nn.BatchNorm1d(256), nn.Linear(256, 256, bias=False)
            pam = {name: nn.Conv2d(last, last // 8, 1) for name in ("query_conv", "key_conv")}
            self.align_module = nn.ModuleDict({"pos_pam": nn.ModuleDict(pam)})
        self.classifier, self.f_classifier = nn.Linear(CHANNELS[-1], CLASSES), nn.Linear(256, CLASSES)
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for values in (module.weight, module.bias, module.running_mean, module.running_var):
                    nn.init.uniform_(values, 0.5, 1.5)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(run_plain(self.conv1, images), 3, 2, 1)
        for index, part in enumerate(self.cells):
            if index % 3 == 2:
                x = F.avg_pool2d(run_plain(part[0], x), 2)
            else:
                k = 4 * (index // 3) + 2 * (index % 3)
                x = run_cell(part, x, *OPERATIONS[k : k + 2])
        return x


def run_plain(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    return layers["bn"](layers["conv"](x)).relu()


def run_light(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    return layers["bn"](layers["conv2"](layers["conv1"](x))).relu()


def interact(name: str, layers: nn.Module, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if name == "exc":
        return b, a
    if name == "ag":
        gated = [x * layers["fc2"](layers["fc1"](x.mean((2, 3), True)).relu()).sigmoid() for x in (a, b)]
        return gated[0], gated[1]
    if name == "cross_att":
        flat_a, flat_b = a.flatten(2), b.flatten(2)
        energy = flat_a @ flat_b.mT
        attended_a, attended_b = (-energy).softmax(-1) @ flat_a, (-energy.mT).softmax(-1) @ flat_b
        return a + layers.gamma * attended_a.view_as(a), b + layers.gamma * attended_b.view_as(b)
    return a, b


def run_cell(layers: nn.ModuleDict, x: Tensor, first: str, second: str) -> Tensor:
    a, b = run_plain(layers["conv1a"], x), run_plain(layers["conv1b"], x)
    for step, name in ((2, first), (3, second)):
        a = run_light(layers[f"conv{step}a"], a)
        for part in layers[f"conv{step}b"]:
            b = run_light(part, b)
        a, b = interact(name, layers[f"_op{step}"], a, b)
    y = sum(layers[f"conv4{k}"]["bn"](layers[f"conv4{k}"]["conv"](v)) for k, v in (("a", a), ("b", b)))
    if "downsample" in layers:
        x = layers["downsample"]["bn"](layers["downsample"]["conv"](x))
    return (x + y).relu()


def one_branch() -> Baseline:
    heads = EmbeddingHead(feature_dim=CHANNELS[-1], num_classes=CLASSES)
    return Baseline(backbone=MSINet(channels=CHANNELS), heads=heads).eval()


def two_branches(criterion: nn.Module | None = None) -> Baseline:
    heads = TwoBranchHead(feature_dim=CHANNELS[-1], local_dim=CHANNELS[-2], num_classes=CLASSES, test_feat="after")
    backbone = MSINet(channels=CHANNELS, named_maps=True)
    return Baseline(backbone=backbone, heads=heads, criterion=criterion).eval()


def test_imagenet_weights_fill_the_backbone() -> None:
    authors, model = Authors(whole=False), one_branch()
    state = {f"module.{name}": value for name, value in authors.state_dict().items()}
    report = load_weights(model, {"epoch": 100, "state_dict": state}, for_inference=True)
    assert report.filter == "msinet"
    assert report.missing == ["heads.weight"]
    assert not report.unexpected
    assert not report.other_shape
    images = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(images), authors(images))


def test_the_global_branch_is_theirs() -> None:
    authors, model = Authors(), two_branches()
    report = load_weights(model, authors.state_dict())
    images = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        expected = authors.head(authors.fc(authors(images).mean((2, 3))))
        torch.testing.assert_close(model(images)[:, : CHANNELS[-1]], expected)
    local = {f"f_{part}" for part in ("conv", "head", "fc")}
    assert {name.split(".")[0] for name in report.unexpected} == local
    assert {name.rpartition(".")[0] for name in report.missing if "local" not in name} == {"heads.global_branch"}


def test_their_local_branch_is_not_ours() -> None:
    with pytest.raises(CheckpointError, match=r"heads\.local_conv\.0\.weight.*passed over: f_conv\.weight"):
        load_weights(two_branches(), Authors().state_dict(), for_inference=True)


def test_the_alignment_is_theirs_where_it_is_trained() -> None:
    authors, sam = Authors(), SpatialAlignmentModule(CHANNELS[-1])
    criterion = nn.ModuleDict({"losses": nn.ModuleDict({"sam": sam})})
    load_weights(two_branches(criterion), authors.state_dict())
    assert sam.position_activation is not None
    for ours, theirs in (("query", "query_conv"), ("key", "key_conv")):
        torch.testing.assert_close(
            getattr(sam.position_activation, ours).state_dict(),
            authors.align_module["pos_pam"][theirs].state_dict(),
        )


def test_nothing_is_dropped_but_what_trains() -> None:
    weights = Authors().state_dict() | {"cells.9.unheard.weight": torch.zeros(1), "cells.2.1.x": torch.zeros(1)}
    found = checkpoint_filter(weights, one_branch())
    assert found is not None
    kept = {id(value) for value in found.values()}
    dropped = {name.split(".")[0] for name, value in weights.items() if id(value) not in kept}
    assert dropped == {"classifier", "f_classifier", "align_module"}
    assert {"cells.9.unheard.weight", "cells.2.1.x", "head.weight", "fc.weight", "f_conv.bias"} <= found.keys()


def test_the_genotype_shows() -> None:
    model = Baseline(
        backbone=MSINet("N" * 12, channels=CHANNELS), heads=EmbeddingHead(feature_dim=CHANNELS[-1], num_classes=CLASSES)
    )
    report = load_weights(model, Authors(whole=False).state_dict())
    assert "cells.0._op2.fc1.weight" in report.unexpected
    assert "cells.7._op3.gamma" in report.unexpected
