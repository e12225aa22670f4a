"""What the networks of pycls share: layers under its state names, and its published weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from fastreid_ext.modeling.backbones.base import OfficialWeights
from fastreid_ext.modeling.backbones.released_weights import released_weights
from fastreid_ext.modeling.layers import build_norm

__all__ = ["PyclsSE", "conv_layers", "pycls_stem", "pycls_to_rgb", "pycls_weights"]

ZOO = "https://dl.fbaipublicfiles.com/pycls/dds_baselines"
CLASSIFIER = "head.fc.weight"
FIRST_CONVOLUTION = "stem.conv.weight"


class PyclsSE(nn.Module):
    """Squeeze-and-excitation (Hu et al., CVPR 2018).

    Shape:
        x: (B, C, h, w).
        returns: as `x`.
    """

    def __init__(self, channels: int, hidden: int, activation: type[nn.ReLU] | type[nn.SiLU]) -> None:
        super().__init__()
        self.f_ex = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), activation(inplace=True), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gates: Tensor = self.f_ex(x.mean(dim=(2, 3), keepdim=True))
        return x * gates


def conv_layers(
    name: str,
    inputs: int,
    outputs: int,
    norm: str,
    activation: type[nn.ReLU] | type[nn.SiLU] | None,
    *,
    size: int = 1,
    stride: int = 1,
    groups: int = 1,
) -> dict[str, nn.Module]:
    """A convolution, its norm and, if any, an activation, by their names in a block."""
    layers: dict[str, nn.Module] = {
        name: nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False),
        f"{name}_bn": build_norm(norm, outputs),
    }
    if activation is not None:
        layers[f"{name}_act"] = activation(inplace=True)
    return layers


def pycls_stem(outputs: int, norm: str, activation: type[nn.ReLU] | type[nn.SiLU]) -> nn.Sequential:
    """Convolution 3x3 that halves the images, norm, activation."""
    conv = nn.Conv2d(3, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=build_norm(norm, outputs), act=activation(inplace=True)))


def pycls_weights(file: str) -> OfficialWeights:
    """The file of pycls' model zoo."""
    return released_weights(f"{ZOO}/{file}")


def pycls_to_rgb(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state for RGB images if it is one that pycls published, which has its classifier and takes BGR images."""
    if CLASSIFIER not in state:
        return dict(state)
    return {**state, FIRST_CONVOLUTION: state[FIRST_CONVOLUTION].flip(1)}
