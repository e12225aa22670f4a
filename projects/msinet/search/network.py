"""Super-network, neck and supervision in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.modeling.backbones import build_backbone
from fastreid_ext.modeling.meta_arch import META_ARCHS, Baseline
from fastreid_ext.projects.msinet.search.supernet import MSISupernet
from fastreid_ext.projects.msinet.search.supervision import SUPERVISIONS, Split, Supervision
from fastreid_ext.utils.dist import gather

__all__ = ["SearchNetwork"]


@META_ARCHS.register(source="Gu et al., CVPR 2023, section 3.1")
class SearchNetwork(Baseline):
    """A super-network that learns weights on one split and its architecture on the other.

    Its embedding is the average-pooled last map behind a batch norm.

    Args:
        backbone: the super-network.
        supervision: the loss of either split.
        **options: of `Baseline`: normalisation of images, memory layout.

    Attributes:
        program: that trains it.
        split: which one the batches of now are of.
    """

    backbone: MSISupernet
    program = "tools/search_arch.py"

    @configurable
    def __init__(self, *, backbone: MSISupernet, supervision: Supervision, **options: Any) -> None:
        super().__init__(backbone=backbone, heads=_Neck(backbone.feature_dim), **options)
        self.supervision = supervision
        self.split: Split = "train"
        self._seen: list[tuple[Tensor, Tensor, Split]] = []
        # Outside `learning_architecture` it is not for an optimizer of the weights.
        for parameter in backbone.architecture_parameters():
            parameter.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL` and `SEARCH.ARCH`."""
        node, backbone = cfg.SEARCH.ARCH, build_backbone(cfg)
        if not isinstance(backbone, MSISupernet):
            raise ConfigError(f"SearchNetwork needs MODEL.BACKBONE.NAME MSISupernet, not {cfg.MODEL.BACKBONE.NAME}")
        if node.SUPERVISION not in SUPERVISIONS:
            raise ConfigError(
                f"SEARCH.ARCH.SUPERVISION is {node.SUPERVISION!r}; choose one of {', '.join(SUPERVISIONS)}"
            )
        classes = [count or cfg.MODEL.HEADS.NUM_CLASSES for count in node.NUM_CLASSES]
        options = {"temperature": node.TEMPERATURE, "momentum": node.MEMORY_MOMENTUM}
        return {
            "backbone": backbone,
            "supervision": SUPERVISIONS[node.SUPERVISION](
                backbone.feature_dim,
                dict(zip(("train", "validation"), classes, strict=True)),
                **(options if node.SUPERVISION == "tcm" else {}),
            ),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
        }

    def forward(self, batch: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """The loss of the split of now in training, embeddings in evaluation.

        Shape:
            batch: as `Baseline` takes it.
            Result: in training a scalar by name, in evaluation (B, D).

        Raises:
            ValueError: in training, a batch without targets.
        """
        embeddings: Tensor = self.heads(self.backbone(self.preprocess(batch)))
        if not self.training:
            return embeddings
        if isinstance(batch, Tensor) or "targets" not in batch:
            raise ValueError("training needs a batch with 'images' and 'targets'; call eval() to embed images")
        pids = batch["targets"].to(embeddings.device)
        # Passes without gradients, such as those that only gather batch-norm statistics, are no steps.
        if torch.is_grad_enabled():
            self._seen.append((embeddings.detach(), pids, self.split))
        return {f"loss_{self.supervision.key}": self.supervision(embeddings, pids, self.split)}

    def remember(self) -> None:
        """Passes the features of the batches since the last call, of all ranks, on to the supervision."""
        seen, self._seen = self._seen, []
        for features, pids, split in seen:
            self.supervision.update(gather(features), gather(pids), split)

    @contextmanager
    def learning_architecture(self) -> Iterator[list[nn.Parameter]]:
        """Inside the block the architecture learns from the validation split, and the weights are fixed."""
        architecture: list[nn.Parameter] = self.backbone.architecture_parameters()
        weights = [parameter for parameter in self.parameters() if parameter.requires_grad]
        _switch(architecture, on=True)
        _switch(weights, on=False)
        self.split = "validation"
        try:
            yield architecture
        finally:
            _switch(architecture, on=False)
            _switch(weights, on=True)
            self.split = "train"


class _Neck(nn.Module):
    """Average pooling and a batch norm without bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.norm.bias.requires_grad_(False)

    def forward(self, maps: Tensor) -> Tensor:
        embeddings: Tensor = self.norm(maps.mean((2, 3)))
        return embeddings


def _switch(parameters: Iterable[nn.Parameter], *, on: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(on)
