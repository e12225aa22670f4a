"""FastReID's MoCo: a baseline with a memory of its own embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.functional.distances import normalize
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.heads import feature_widths, features_by_branch
from fastreid_ext.modeling.layers.dictionary import NegativeDictionary
from fastreid_ext.modeling.losses import Cosface
from fastreid_ext.modeling.meta_arch.baseline import Baseline
from fastreid_ext.modeling.meta_arch.registry import META_ARCHS
from fastreid_ext.utils.dist import gather

__all__ = ["MoCo"]


@META_ARCHS.register(source="FastReID: He et al. 2020, arXiv:2006.02631")
class MoCo(Baseline):
    """A `Baseline` with one more loss, `loss_mb`: pair-wise CosFace of the batch against remembered embeddings.

    The memory is of the network's own embeddings, not of a momentum encoder's, and images of earlier batches are
    positives, too. FastReID leaves out each image's own entry only in the first batch and counts places that are still
    empty as images of identity 0; here neither is so, and the size need not be a multiple of the batch.

    Args:
        backbone: as for `Baseline`.
        heads: as for `Baseline`.
        dictionary: as wide as the features.
        criterion: as for `Baseline`.
        pixel_mean: of each colour, on the scale of the images.
        pixel_std: of each colour, on the scale of the images.
        channels_last: lays weights and images out channels last.
    """

    training_only: ClassVar[tuple[str, ...]] = (*Baseline.training_only, "memory", "memory_loss")
    memories: ClassVar[tuple[str, ...]] = ("memory",)

    memory: NegativeDictionary

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        heads: nn.Module,
        dictionary: NegativeDictionary,
        criterion: nn.Module | None = None,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        channels_last: bool = False,
    ) -> None:
        super().__init__(
            backbone=backbone,
            heads=heads,
            criterion=criterion,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            channels_last=channels_last,
        )
        self.memory = dictionary
        self.memory_loss = Cosface(margin=0.25, gamma=32.0)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL`, with `MODEL.QUEUE_SIZE` places in the memory.

        Raises:
            ConfigError: fewer places than images in a batch.
        """
        size, batch = cfg.MODEL.QUEUE_SIZE, cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATION_STEPS
        if size < batch:
            raise ConfigError(
                f"MODEL.QUEUE_SIZE {size} is smaller than a batch of {batch} images: make it at least that"
            )
        made = super().from_config(cfg)
        width = sum(feature_widths(made["backbone"], made["heads"], cfg.INPUT.SIZE_TRAIN).values())
        return {**made, "dictionary": NegativeDictionary(size, width, past_positives=True)}

    def more_losses(self, outputs: Mapping[str, Any], pids: Tensor) -> dict[str, Tensor]:
        """The loss against the memory, which takes in the batch first; without gradients nothing is remembered.

        Shape:
            pids: (B,).
            Results: scalars.
        """
        if not torch.is_grad_enabled():
            return {}
        features = torch.cat([widen(features) for features in features_by_branch(outputs).values()], dim=1)
        unit = normalize(features)
        keys = self.memory(unit, pids)
        return {"loss_mb": self.memory_loss.compare(gather(unit), keys)}
