"""MSINet's backbone (Fig. 2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones import BACKBONES
from fastreid_ext.projects.msinet.cell import MSICell, conv1x1
from fastreid_ext.projects.msinet.genotype import parse_genotype
from fastreid_ext.projects.msinet.interactions import INTERACTIONS

__all__ = ["CHANNELS", "MSIBackbone", "MSINet"]

CHANNELS = (64, 256, 384, 512)
"""Of the stem and of the three stages."""


class MSIBackbone(nn.Module):
    """Stem, three stages of two cells, and down-sampling between them; what its cells are is told by a subclass.

    Args:
        cell: makes the cell of an index, from 0, given its input and output channels.
        channels: of the stem and of the three stages.
        named_maps: return a dict of maps instead of the last one.

    Attributes:
        feature_dim: channels of the last map.
        local_dim: channels of the map "local".

    Shape:
        images: (B, 3, H, W), H and W multiples of 16, normalised.
        returns: (B, 512, H/16, W/16); with `named_maps` a dict of this as "last", and of the map after the second
            down-sampling, (B, 384, H/16, W/16), as "local".
    """

    def __init__(
        self,
        cell: Callable[[int, int, int], nn.Module],
        *,
        channels: Sequence[int] = CHANNELS,
        named_maps: bool = False,
    ) -> None:
        super().__init__()
        stem, *widths = channels
        self.named_maps = named_maps
        self.local_dim, self.feature_dim = widths[-2:]
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages, reductions = [], []
        for stage, (inputs, width) in enumerate(zip((stem, *widths[:-1]), widths, strict=True)):
            stages.append(nn.Sequential(cell(2 * stage, inputs, width), cell(2 * stage + 1, width, width)))
            reductions.append(nn.Sequential(conv1x1(width, width), nn.AvgPool2d(2)))
        self.stages = nn.ModuleList(stages)
        self.reductions = nn.ModuleList(reductions[:-1])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new convolution weights (He et al. 2015); batch norms start as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        x = self.stem(images)
        local = x
        for stage, reduction in zip(self.stages, self.reductions, strict=False):
            x = local = reduction(stage(x))
        x = self.stages[-1](x)
        return {"last": x, "local": local} if self.named_maps else x


@BACKBONES.register(source="Gu et al., CVPR 2023", aliases=("build_msinet_backbone",))
class MSINet(MSIBackbone):
    """Light network of two-branch cells whose interactions were searched.

    Args:
        genotype: twelve interaction letters or a preset's name, see `parse_genotype`.
        channels: of the stem and of the three stages.
        depths: light convolutions of a cell's two branches; their ratio is the scale ratio (rho, Fig. 5d).
        fusion: how a cell's branches become one map: "sum", "minus" or "mul" (Fig. 5c).
        named_maps: return a dict of maps instead of the last one.

    Shape:
        images: (B, 3, H, W), H and W multiples of 16, normalised.
        returns: (B, 512, H/16, W/16); with `named_maps` a dict of this as "last", and of the map after the second
            down-sampling, (B, 384, H/16, W/16), as "local".

    Raises:
        ValueError: the genotype has another length or an unknown letter; an unknown `fusion`.
    """

    @configurable
    def __init__(
        self,
        genotype: str = "MSINet",
        *,
        channels: Sequence[int] = CHANNELS,
        depths: Sequence[int] = (1, 3),
        fusion: str = "sum",
        named_maps: bool = False,
    ) -> None:
        letters = parse_genotype(genotype)

        def cell(index: int, inputs: int, width: int) -> MSICell:
            pair = [INTERACTIONS.get(letter) for letter in letters[2 * index : 2 * index + 2]]
            return MSICell(inputs, width, interactions=pair, depths=depths, fusion=fusion)

        super().__init__(cell, channels=channels, named_maps=named_maps)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.MSINET`."""
        node = cfg.MODEL.MSINET
        return {
            "genotype": node.GENOTYPE,
            "depths": tuple(node.DEPTHS),
            "fusion": node.FUSION,
            "named_maps": True,
        }
