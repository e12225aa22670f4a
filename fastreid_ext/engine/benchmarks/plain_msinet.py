"""MSINet as one writes it from the paper, a module for each layer: what the project's network is measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PlainMSINet"]


class PlainMSINet(nn.Module):
    """The backbone of Fig. 2 with the two interactions of every cell as letters; it takes the project's weights.

    Args:
        genotype: twelve letters of N, E, G and A.

    Shape:
        images: (B, 3, H, W), H and W multiples of 16.
        returns: (B, 512, H/16, W/16).
    """

    def __init__(self, genotype: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        letters = iter(genotype)
        self.stages = nn.ModuleList()
        for inputs, width in ((64, 256), (256, 384), (384, 512)):
            cells = (_Cell(channels, width, next(letters), next(letters)) for channels in (inputs, width))
            self.stages.append(nn.Sequential(*cells))
        self.reductions = nn.ModuleList(nn.Sequential(_conv1x1(width, width), nn.AvgPool2d(2)) for width in (256, 384))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = self.reductions[0](self.stages[0](x))
        x = self.reductions[1](self.stages[1](x))
        out: Tensor = self.stages[2](x)
        return out


def _conv1x1(inputs: int, outputs: int, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


def _light(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class _Cell(nn.Module):
    def __init__(self, inputs: int, outputs: int, letter1: str, letter2: str) -> None:
        super().__init__()
        inner = outputs // 4
        self.entries = nn.ModuleList([_conv1x1(inputs, inner), _conv1x1(inputs, inner)])
        self.first = nn.ModuleList([nn.Sequential(_light(inner)), nn.Sequential(*(_light(inner) for _ in range(3)))])
        self.interaction1 = _INTERACTIONS[letter1](inner)
        self.second = nn.ModuleList([nn.Sequential(_light(inner)), nn.Sequential(*(_light(inner) for _ in range(3)))])
        self.interaction2 = _INTERACTIONS[letter2](inner)
        self.exits = nn.ModuleList([_conv1x1(inner, outputs, relu=False), _conv1x1(inner, outputs, relu=False)])
        self.shortcut = nn.Identity() if inputs == outputs else _conv1x1(inputs, outputs, relu=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.first[0](self.entries[0](x))
        x2 = self.first[1](self.entries[1](x))
        x1, x2 = self.interaction1(x1, x2)
        x1, x2 = self.second[0](x1), self.second[1](x2)
        x1, x2 = self.interaction2(x1, x2)
        out: Tensor = self.relu(self.exits[0](x1) + self.exits[1](x2) + self.shortcut(x))
        return out


class _None(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        return x1, x2


class _Exchange(_None):
    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        return x2, x1


class _Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        hidden = max(1, channels // 16)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        return x1 * self.mlp(self.pool(x1)), x2 * self.mlp(self.pool(x2))


class _Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        return self._attend(x1, x2), self._attend(x2, x1)

    def _attend(self, own: Tensor, other: Tensor) -> Tensor:
        query, key = own.flatten(2), other.flatten(2)
        energy = torch.bmm(query, key.transpose(1, 2))
        mask = self.softmax(energy.max(dim=-1, keepdim=True).values - energy)
        return own + self.gamma * torch.bmm(mask, query).view(own.shape)


_INTERACTIONS: dict[str, type[nn.Module]] = {"N": _None, "E": _Exchange, "G": _Gate, "A": _Attention}
