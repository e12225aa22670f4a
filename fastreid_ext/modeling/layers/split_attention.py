"""Split attention."""

from __future__ import annotations

from torch import Tensor, nn

from fastreid_ext.modeling.layers.norm import build_norm

__all__ = ["SplitAttentionConv"]


class SplitAttentionConv(nn.Module):
    """3x3 convolution of several splits, summed with weights that see the mean of all (Zhang et al., CVPRW 2022).

    The weights of one channel are a softmax over the splits, or, of a single split, a gate in (0, 1). The source is
    arXiv:2004.08955, Sec. 3.1; state names are its authors'.

    Args:
        inputs: channels of the map.
        channels: of the result.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of channels, each with weights of its own; the paper's cardinality.
        radix: how many splits each group has.
        reduction: by what the hidden layer is narrower than the splits that enter; it has at least 32 channels.
        norm: name of the norms after the convolution and in the hidden layer.

    Shape:
        x: (B, inputs, h, w).
        returns: (B, channels, h', w').
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        radix: int = 2,
        reduction: int = 4,
        norm: str = "BN",
    ) -> None:
        super().__init__()
        hidden, splits = max(inputs * radix // reduction, 32), channels * radix
        self.groups, self.radix = groups, radix
        self.conv = nn.Conv2d(
            inputs, splits, 3, stride=stride, padding=dilation, dilation=dilation, groups=groups * radix, bias=False
        )
        self.bn0 = build_norm(norm, splits)
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(channels, hidden, 1, groups=groups)
        self.bn1 = build_norm(norm, hidden)
        self.fc2 = nn.Conv2d(hidden, splits, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        splits: Tensor = self.relu(self.bn0(self.conv(x))).unflatten(1, (self.radix, -1))
        pooled = splits.mean(dim=(3, 4)).sum(dim=1)[:, :, None, None]
        logits: Tensor = self.fc2(self.relu(self.bn1(self.fc1(pooled)))).flatten(1)
        return (self._weights(logits)[:, :, :, None, None] * splits).sum(dim=1)

    def _weights(self, logits: Tensor) -> Tensor:
        """(B, radix, channels), of logits that lie group by group, and in a group split by split."""
        if self.radix == 1:
            return logits.sigmoid()[:, None]
        of_splits = logits.reshape(logits.shape[0], self.groups, self.radix, -1).softmax(dim=2)
        return of_splits.transpose(1, 2).flatten(2)
