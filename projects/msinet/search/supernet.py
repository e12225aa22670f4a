"""The network that holds every architecture of the search space (eq. 1 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones import BACKBONES
from fastreid_ext.projects.msinet.backbone import CHANNELS, MSIBackbone
from fastreid_ext.projects.msinet.cell import MSICell
from fastreid_ext.projects.msinet.interactions import INTERACTIONS

__all__ = ["MSISupernet", "MixedInteraction"]

_SPREAD = 1e-3


class MixedInteraction(nn.Module):
    """The softmax-weighted sum of several interactions (eq. 1).

    Attributes:
        architecture: the logits of the weights (alpha), one an operation.

    Shape:
        x1, x2: (B, C, h, w).
        returns: two of (B, C, h, w).
    """

    def __init__(self, channels: int, *, operations: Sequence[str]) -> None:
        super().__init__()
        self.operations = nn.ModuleList(INTERACTIONS.get(letter)(channels) for letter in operations)
        self.architecture = nn.Parameter(_SPREAD * torch.randn(len(operations)))

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        outputs = [operation(x1, x2) for operation in self.operations]
        # Weights of float32 would make sums of float32 out of half-precision maps.
        weights = self.architecture.softmax(0).to(outputs[0][0].dtype)
        y1, y2 = (
            torch.stack([weight * output[branch] for weight, output in zip(weights, outputs, strict=True)]).sum(0)
            for branch in (0, 1)
        )
        return y1, y2


@BACKBONES.register(source="Gu et al., CVPR 2023, section 3.1")
class MSISupernet(MSIBackbone):
    """MSINet whose interactions are all weighted sums of all operations, for the search.

    Args:
        operations: letters of registered interactions; empty for all that are registered.
        channels: of the stem and of the three stages.
        depths: light convolutions of a cell's two branches.
        fusion: how a cell's branches become one map.

    Attributes:
        operations: their letters.

    Shape:
        images: (B, 3, H, W), H and W multiples of 16, normalised.
        returns: (B, 512, H/16, W/16).

    Raises:
        RegistryError: there is no operation of a letter.
        ValueError: an operation is named twice, or there is but one.
    """

    @configurable
    def __init__(
        self,
        *,
        operations: Sequence[str] = (),
        channels: Sequence[int] = CHANNELS,
        depths: Sequence[int] = (1, 3),
        fusion: str = "sum",
    ) -> None:
        letters = list(operations) or INTERACTIONS.names()
        if len(set(letters)) < max(2, len(letters)):
            raise ValueError(
                f"SEARCH.ARCH.OPERATIONS {letters} leaves no choice: name two or more different letters of "
                f"{', '.join(INTERACTIONS.names())}, or none for all"
            )

        def mixed(channels: int) -> nn.Module:
            return MixedInteraction(channels, operations=letters)

        def cell(index: int, inputs: int, width: int) -> MSICell:
            # The authors' super-network is narrower than what it finds: a quarter of a cell's input.
            inner = inputs // 4
            return MSICell(inputs, width, interactions=(mixed, mixed), depths=depths, inner=inner, fusion=fusion)

        super().__init__(cell, channels=channels)
        self.operations = letters

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `SEARCH.ARCH` and `MODEL.MSINET`."""
        node = cfg.MODEL.MSINET
        return {"operations": cfg.SEARCH.ARCH.OPERATIONS, "depths": tuple(node.DEPTHS), "fusion": node.FUSION}

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The logits of all interactions, in the order of the layers, each (operations,)."""
        return [module.architecture for module in self.modules() if isinstance(module, MixedInteraction)]

    @torch.no_grad()
    def architecture_weights(self) -> Tensor:
        """The weights of the operations in every layer; rows sum to 1.

        Shape:
            Result: (layers, operations), on the CPU.
        """
        return torch.stack([logits.detach().float().softmax(0).cpu() for logits in self.architecture_parameters()])

    def genotype(self) -> str:
        """The letters of the heaviest operations, as `MSINet` takes them."""
        heaviest: list[int] = self.architecture_weights().argmax(1).tolist()
        return "".join(self.operations[index] for index in heaviest)
