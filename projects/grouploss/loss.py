"""Group Loss: cross entropy of what the images of a batch agree on."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.functional.grouped import first_of_each
from fastreid_ext.functional.pairs import masked_mean
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses import LOSSES
from fastreid_ext.modeling.losses.base import Loss, check_inputs
from fastreid_ext.projects.grouploss.anchors import draw_anchors
from fastreid_ext.projects.grouploss.refinement import refine
from fastreid_ext.projects.grouploss.similarity import Negatives, check_negatives, pearson_similarities
from fastreid_ext.utils.dist import gather

__all__ = ["GroupLoss"]


@LOSSES.register(source="Elezi et al. 2022 (Group Loss++)")
class GroupLoss(Loss):
    """Cross entropy of assignments that are refined by label propagation between the images of a batch.

    Assignments begin as the softmax of the logits over a temperature, those of anchors as their labels; each step of
    `refine` multiplies them by the support of similar images. With 0 steps the loss is the cross entropy of
    logits / temperature. Anchors contribute no loss: the mean is over the other images. (The authors divide by all.)

    The sparse form refines over the identities of the batch only, whose softmax is that of their logits (section 8.3):
    nothing but one gather depends on the number of classes. It equals the dense form as far as the probability mass
    lies in them. Logits of these identities alone, with labels to match, will do for the dense form, too.

    Args:
        temperature: of the softmax, T_softmax in eq. 14.
        anchors: images of each identity in a batch that are drawn at random to be labelled; one is always left out.
        steps: of refinement, T.
        similarity: what is done with negative correlations: "clamp" makes them 0, "shift" subtracts the lowest.
        sparse: refine over the identities of the batch only.

    Raises:
        ValueError: an option out of range.
    """

    key = "group"
    node = "GROUP"
    takes = ("features", "pred_class_logits")

    @configurable
    def __init__(
        self,
        *,
        temperature: float = 10.0,
        anchors: int = 1,
        steps: int = 3,
        similarity: Negatives = "clamp",
        sparse: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < temperature < inf:
            raise ValueError(
                f"the temperature of Group Loss (MODEL.LOSSES.GROUP.TEMPERATURE) is {temperature}; it must be above 0 "
                f"and finite"
            )
        if not all(type(number) is int and number >= 0 for number in (anchors, steps)):
            raise ValueError(
                f"Group Loss (MODEL.LOSSES.GROUP) takes whole numbers of anchors and steps from 0 on, "
                f"not {anchors} and {steps}"
            )
        check_negatives(similarity)
        self.temperature, self.anchors, self.steps = temperature, anchors, steps
        self.similarity, self.sparse = similarity, sparse

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.GROUP`.

        Raises:
            ConfigError: all images of an identity in a batch would be anchors.
        """
        node = cfg.MODEL.LOSSES.GROUP
        if _samplers(cfg) - {"TrainingSampler"} and node.ANCHORS >= cfg.DATALOADER.NUM_INSTANCE:
            raise ConfigError(
                f"MODEL.LOSSES.GROUP.ANCHORS is {node.ANCHORS}, but a batch has DATALOADER.NUM_INSTANCE "
                f"{cfg.DATALOADER.NUM_INSTANCE} images of an identity: one at least must be no anchor, or there is "
                f"nothing to learn from"
            )
        return {
            "temperature": node.TEMPERATURE,
            "anchors": node.ANCHORS,
            "steps": node.STEPS,
            "similarity": node.SIMILARITY,
            "sparse": node.SPARSE,
        }

    def forward(
        self,
        embeddings: Tensor,
        logits: Tensor,
        pids: Tensor,
        anchor_mask: Tensor | None = None,
        relations: Tensor | None = None,
    ) -> Tensor:
        """Mean over the images that are no anchors; 0 when there is none.

        Args:
            embeddings: of the batch.
            logits: of the classifier.
            pids: true classes.
            anchor_mask: which images are anchors, instead of a random choice.
            relations: what is known of pairs (section 8.2): 1 similar, -1 dissimilar, 0 unknown. Known pairs have
                similarity 1 or 0 instead of their correlation.

        Shape:
            embeddings: (B, D). logits: (B, C). pids: (B,), in [0, C).
            anchor_mask: (B,), boolean. relations: (B, B).
            Result: scalar.

        Raises:
            ValueError: the shapes do not fit together. On a CPU, where that can be seen without waiting, also: no
                identity has as many images as anchors, or the pids are no columns of the logits.
        """
        check_inputs(embeddings, pids)
        check_inputs(logits, pids)
        self._check_options(pids, anchor_mask, relations)
        if len(pids) and not (pids.is_cuda or torch.compiler.is_compiling()):
            self._check_pids(pids, logits.shape[1], drawn=anchor_mask is None)
        chosen = draw_anchors(pids, self.anchors) if anchor_mask is None else anchor_mask
        logits = logits.index_select(1, pids) if self.sparse else logits
        return self._of_batch(embeddings, logits, pids, chosen, relations)

    def from_outputs(self, outputs: Mapping[str, Any], pids: Tensor) -> Tensor:
        """The loss of `outputs["features"]` and `outputs["pred_class_logits"]` of all ranks, the same on every rank.

        `outputs["relations"]`, of the images of all ranks, is taken where there is one.

        Shape:
            pids: (B,), B equal on all ranks.
            Result: scalar.
        """
        embeddings, logits, everyone = outputs["features"], outputs["pred_class_logits"], gather(pids)
        check_inputs(embeddings, pids)
        check_inputs(logits, pids)
        self._check_options(everyone, None, outputs.get("relations"))
        logits = gather(logits.index_select(1, everyone) if self.sparse else logits)
        # Drawn here and not by each rank of all images, whose random numbers differ.
        anchors = gather(draw_anchors(pids, self.anchors))
        return self._of_batch(gather(embeddings), logits, everyone, anchors, outputs.get("relations"))

    def _of_batch(
        self, embeddings: Tensor, logits: Tensor, pids: Tensor, anchors: Tensor, relations: Tensor | None
    ) -> Tensor:
        """The loss; of the sparse form, logits have a column an image, that of its identity."""
        if not len(pids):
            return widen(embeddings).sum() + widen(logits).sum()
        scores, true = widen(logits) / self.temperature, pids
        if self.sparse:
            true = first_of_each(pids[:, None] == pids)
            repeated = true != torch.arange(len(true), device=true.device)
            scores = scores.masked_fill(repeated, -inf)
        prior = scores.log_softmax(1)
        label = torch.arange(prior.shape[1], device=true.device) == true[:, None]
        known = torch.zeros_like(prior).masked_fill(~label, -inf)
        similarities = pearson_similarities(embeddings, self.similarity).to(prior.dtype)
        if relations is not None:
            similarities = _with_relations(similarities, relations)
        refined = refine(torch.where(anchors[:, None], known, prior), similarities, self.steps, anchors)
        return masked_mean(-refined.gather(1, true[:, None]).squeeze(1), ~anchors)

    def _check_options(self, pids: Tensor, anchor_mask: Tensor | None, relations: Tensor | None) -> None:
        images = len(pids)
        if pids.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"pids are whole numbers of type int64 or int32, not {pids.dtype}")
        if anchor_mask is not None and (anchor_mask.shape != pids.shape or anchor_mask.dtype != torch.bool):
            raise ValueError(
                f"anchor_mask is boolean and has an entry an image ({images},), "
                f"not {tuple(anchor_mask.shape)} of {anchor_mask.dtype}"
            )
        if relations is not None and relations.shape != (images, images):
            raise ValueError(f"relations are of pairs ({images}, {images}), not {tuple(relations.shape)}")

    def _check_pids(self, pids: Tensor, classes: int, *, drawn: bool) -> None:
        least, most = (int(end) for end in pids.aminmax())
        if least < 0 or most >= classes:
            raise ValueError(f"pids are columns of the logits, 0 to {classes - 1}, but some are {least} or {most}")
        images = int((pids[:, None] == pids).sum(1).max())
        if drawn and self.anchors > images:
            raise ValueError(
                f"Group Loss is to draw {self.anchors} anchors of each identity, but no identity of the batch has more "
                f"than {images} images"
            )

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return (
            f"temperature={self.temperature}, anchors={self.anchors}, steps={self.steps}, "
            f"similarity={self.similarity!r}, sparse={self.sparse}"
        )


def _with_relations(similarities: Tensor, relations: Tensor) -> Tensor:
    itself = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
    of_known = (relations > 0).to(similarities.dtype).masked_fill(itself, 0)
    return torch.where(relations == 0, similarities, of_known)


def _samplers(cfg: CfgNode) -> set[str]:
    """Of the stages of training that have this loss."""
    first = cfg.SOLVER.FIRST_STAGE
    of_first = bool(first.EPOCHS) and GroupLoss.__name__ in first.LOSSES
    of_second = GroupLoss.__name__ in cfg.MODEL.LOSSES.NAME or not of_first
    stages = ((first.SAMPLER_TRAIN, of_first), (cfg.DATALOADER.SAMPLER_TRAIN, of_second))
    return {sampler for sampler, used in stages if used}
