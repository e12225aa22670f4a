"""Non-local block."""

from __future__ import annotations

from torch import Tensor, nn

from fastreid_ext.modeling.layers.norm import build_norm

__all__ = ["NonLocal"]


class NonLocal(nn.Module):
    """Adds to each position a weighted sum over all positions (Wang et al., CVPR 2018, Eq. 4 and 6).

    The pairwise function is the dot product of two embeddings, divided by the number of positions. The last norm
    starts at zero, so that a new block is the identity.

    Args:
        channels: of the map.
        inner_channels: of the embeddings; None takes half of `channels` as the paper does, 1 what FastReID's
            published weights have.
        norm: name of the last norm.

    Shape:
        x: (B, C, h, w).
        returns: as `x`.
    """

    def __init__(self, channels: int, inner_channels: int | None = None, norm: str = "BN") -> None:
        super().__init__()
        inner = inner_channels or channels // 2
        self.g = nn.Conv2d(channels, inner, 1)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        last = build_norm(norm, channels)
        assert isinstance(last.weight, Tensor) and isinstance(last.bias, Tensor)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), last)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (embed(x).flatten(2) for embed in (self.theta, self.phi, self.g))
        inner, positions = queries.shape[1:]
        keys = keys / positions
        # There is no softmax between the two products, so the smaller of the two middle matrices is taken.
        mixed = (values @ keys.mT) @ queries if inner < positions else values @ (keys.mT @ queries)
        attended: Tensor = self.W(mixed.unflatten(2, x.shape[2:]))
        return x + attended
