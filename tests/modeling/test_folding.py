"""Folded models give what the models give, and nothing is folded that must not be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from batch_norms import randomize_batch_norms
from torch import Tensor, nn

from fastreid_ext.config import get_cfg
from fastreid_ext.modeling import build_backbone
from fastreid_ext.modeling.folding import fold_batch_norms


def randomized(model: nn.Module) -> nn.Module:
    """The model in double precision and evaluation, with drawn statistics and affine parameters of batch norms."""
    randomize_batch_norms(model)
    return model.double().eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), rtol=0, atol=1e-9)


BACKBONES: list[tuple[str, dict[str, Any], int]] = [
    ("ResNet", {"DEPTH": "18x"}, 0),
    ("ResNet", {"DEPTH": "50x"}, 0),
    ("ResNet", {"DEPTH": "50x", "NORM": "syncBN"}, 0),
    ("ResNet", {"DEPTH": "18x", "NORM": "GhostBN"}, 0),
    ("ResNet", {"DEPTH": "18x", "NORM": "FrozenBN"}, 0),
    ("ResNet", {"DEPTH": "18x", "NORM": "GN"}, 0),
    ("ResNet", {"DEPTH": "50x", "WITH_IBN": True, "WITH_SE": True, "WITH_NL": True}, 14),
    ("ResNeSt", {"DEPTH": "50x"}, 0),
    ("ResNeXt", {"DEPTH": "50x", "WITH_IBN": True}, 16),
    # The identities of its blocks have no convolutions.
    ("RepVGG", {"DEPTH": "A0"}, 17),
    ("OSNet", {"DEPTH": "x0_25"}, 0),
    ("OSNet", {"DEPTH": "x0_25", "WITH_IBN": True}, 0),
    ("OSNet", {"DEPTH": "x0_25", "WITH_AIN": True}, 0),
    ("BNInception", {}, 0),
]


@pytest.mark.parametrize(("name", "options", "left"), BACKBONES)
def test_backbones(name: str, options: dict[str, Any], left: int) -> None:
    cfg = get_cfg()
    cfg.merge_from_mapping({"MODEL": {"BACKBONE": {"NAME": name, **options}}})
    model = randomized(build_backbone(cfg))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_batch_norms(model)
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        close(folded(images), model(images))
    assert norms(folded) == left
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_pre_activation_norms_stay_in_densenet() -> None:
    cfg = get_cfg()
    cfg.merge_from_mapping({"MODEL": {"BACKBONE": {"NAME": "DenseNet", "DEPTH": "121"}}})
    model = randomized(build_backbone(cfg))
    folded = fold_batch_norms(model)
    assert 0 < norms(folded) < norms(model)
    images = torch.randn(1, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        close(folded(images), model(images))


class Net(nn.Module):
    """A convolution, a norm and what is done with them."""

    def __init__(self, use: Callable[[Net, Tensor], Tensor], **options: Any) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, **options)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x)


def _on_data(net: Net, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)) if x.sum() > 0 else net.conv(x)


@pytest.mark.parametrize(
    "use",
    [
        lambda net, x: net.bn(y := net.conv(x)) + y,
        lambda net, x: net.bn(net.conv(x).relu()),
        lambda net, x: net.bn(net.conv(x)) + net.conv(2 * x),
        lambda net, x: net.bn(net.conv(x)) + net.bn(x),
        lambda net, x: net.bn(net.conv(x).mul_(2)),
        lambda net, x: net.conv(net.bn(x)),
        lambda net, x: net.bn(net.conv(x)) + nn.functional.conv2d(x, net.conv.weight),
        lambda net, x: net.bn(net.conv(x)) * net.conv.weight.norm(),
        lambda net, x: net.bn(net.conv(x)) + net.bn.running_mean.view(1, -1, 1, 1),
        _on_data,
    ],
)
def test_what_must_not_be_folded(use: Callable[[Net, Tensor], Tensor]) -> None:
    model = randomized(Net(use))
    folded = fold_batch_norms(model)
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    assert norms(folded) == 1
    with torch.no_grad():
        assert torch.equal(folded(x), model(x))
        assert torch.equal(folded(-x), model(-x))


def test_norms_without_statistics_or_affine_parameters() -> None:
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    kept = Net(lambda net, x: net.bn(net.conv(x)), track_running_stats=False).eval()
    assert norms(fold_batch_norms(kept)) == 1
    model = Net(lambda net, x: net.bn(net.conv(x)), affine=False).double().eval()
    nn.init.uniform_(model.bn.running_var, 0.5, 2.0)
    folded = fold_batch_norms(model)
    assert norms(folded) == 0
    close(folded(x), model(x))


def test_tied_weights_hooks_and_unknown_norms_stay() -> None:
    class Doubled(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    tied = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    tied[2].weight = tied[0].weight
    hooked = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    hooked[0].register_forward_hook(lambda module, inputs, output: output + 1)
    spectral = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4))
    layer = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    shared = nn.ModuleDict({"a": layer, "b": layer})
    for model in (tied, hooked, spectral, shared, nn.Sequential(nn.Conv2d(4, 4, 1), Doubled(4)), nn.BatchNorm2d(4)):
        assert norms(fold_batch_norms(model)) == 1


def test_parts_are_folded_where_the_whole_cannot_be_traced() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x if x.mean() > 0 else -x)

    model = randomized(Turned())
    folded = fold_batch_norms(model)
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        close(folded(x), model(x))
    assert norms(folded) == 0 and not folded.training
