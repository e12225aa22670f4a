"""The meta-architecture: a main encoder that learns, a momentum encoder that fills a dictionary of negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.keys import Keys
from fastreid_ext.modeling.heads import feature_widths
from fastreid_ext.modeling.layers.dictionary import NegativeDictionary
from fastreid_ext.modeling.meta_arch import META_ARCHS, Baseline
from fastreid_ext.projects.moreid.checks import check_config, check_losses
from fastreid_ext.projects.moreid.momentum_encoder import SCHEDULES, MomentumEncoder

__all__ = ["MoReID"]


@META_ARCHS.register(source="Lee et al. 2022 (MoReID); dictionary and momentum: He et al. 2020 (MoCo)")
class MoReID(Baseline):
    """A `Baseline` whose tripletwise losses compare each image with a dictionary of encoded images.

    A momentum encoder, which follows the main one slowly, encodes the images of each batch into the dictionary. An
    image's negatives are the dictionary's images of other identities, its positives those of the same batch. All other
    losses are those of a `Baseline`, and so are evaluation, its speed and the state's names.

    Args:
        backbone: as for `Baseline`.
        heads: as for `Baseline`; with several branches each has keys of its own.
        dictionary: as wide as all branches' features together.
        momentum: m of the momentum encoder.
        momentum_schedule: "constant", or "cosine" to let the momentum rise to 1.
        criterion: as for `Baseline`; outputs have a `Keys` as "keys".
        pixel_mean: of each colour, on the scale of the images.
        pixel_std: of each colour, on the scale of the images.
        channels_last: lays weights and images out channels last.

    Raises:
        ValueError: a momentum below 0 or above 1, or an unknown schedule.
        ConfigError: no loss takes keys.
    """

    training_only: ClassVar[tuple[str, ...]] = (*Baseline.training_only, "momentum_encoder", "dictionary")
    memories: ClassVar[tuple[str, ...]] = ("dictionary",)

    momentum_encoder: MomentumEncoder
    dictionary: NegativeDictionary

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        heads: nn.Module,
        dictionary: NegativeDictionary,
        momentum: float = 0.997,
        momentum_schedule: str = "constant",
        criterion: nn.Module | None = None,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        channels_last: bool = False,
    ) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"the momentum of MoReID is {momentum}; it must be between 0 and 1")
        if momentum_schedule not in SCHEDULES:
            raise ValueError(f"unknown momentum schedule '{momentum_schedule}': choose one of {', '.join(SCHEDULES)}")
        check_losses(criterion)
        super().__init__(
            backbone=backbone,
            heads=heads,
            criterion=criterion,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            channels_last=channels_last,
        )
        self.momentum, self.momentum_schedule = momentum, momentum_schedule
        self.momentum_encoder = MomentumEncoder(backbone, heads)
        self.dictionary = dictionary
        self.register_load_state_dict_post_hook(_start_from_main_encoder)  # type: ignore[no-untyped-call]

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL` and `MODEL.MOREID`.

        Raises:
            ConfigError: a dictionary smaller than a batch, batches without positives, a momentum that is none.
        """
        check_config(cfg)
        node, made = cfg.MODEL.MOREID, super().from_config(cfg)
        width = sum(feature_widths(made["backbone"], made["heads"], cfg.INPUT.SIZE_TRAIN).values())
        return {
            **made,
            "dictionary": NegativeDictionary(node.DICTIONARY_SIZE, width, past_positives=node.PAST_POSITIVES),
            "momentum": node.MOMENTUM,
            "momentum_schedule": node.MOMENTUM_SCHEDULE,
        }

    def outputs(self, images: Tensor, pids: Tensor) -> dict[str, Any]:
        """What the head gives in training, the backbone's last map as "map", and for each branch its keys as "keys".

        Without gradients, as when batch-norm statistics are averaged, nothing is remembered, and there are no keys.

        Shape:
            images: (B, 3, H, W), normalised. pids: (B,).
        """
        outputs = super().outputs(images, pids)
        if not torch.is_grad_enabled():
            return outputs
        self.momentum_encoder.take_modes(self.backbone, self.heads)
        encoded = self.momentum_encoder(images, pids)
        keys = self.dictionary(torch.cat([features.float() for features in encoded.values()], dim=1), pids)
        of_branches, start = {}, 0
        for name, features in encoded.items():
            part = keys.features[:, start : start + features.shape[1]]
            of_branches[name] = Keys(part, keys.pids, keys.positive, keys.negative)
            start += features.shape[1]
        if "branches" not in outputs:
            return {**outputs, "keys": of_branches[""]}
        branches = {
            name: {**of_branch, "keys": of_branches[name]} if name in of_branches else of_branch
            for name, of_branch in outputs["branches"].items()
        }
        return {**outputs, "branches": branches}

    def after_step(self, progress: float) -> None:
        """Lets the momentum encoder follow; to be called after each step of the optimizer.

        Args:
            progress: the share of the training that is done, from 0 to 1.
        """
        momentum = SCHEDULES[self.momentum_schedule](self.momentum, progress)
        self.momentum_encoder.follow(self.backbone, self.heads, momentum)


def _start_from_main_encoder(model: nn.Module, incompatible_keys: Any) -> None:
    """Weights that were trained without a momentum encoder are where it starts."""
    assert isinstance(model, MoReID)
    prefix, missing = "momentum_encoder.", incompatible_keys.missing_keys
    # There are none once the model is prepared for inference.
    own = {name for name, _ in model.named_parameters() if name.startswith(prefix)}
    if own and own <= set(missing):
        model.momentum_encoder.follow(model.backbone, model.heads, momentum=0.0)
        missing[:] = [name for name in missing if not name.startswith(prefix)]
