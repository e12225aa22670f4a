"""What heads do to classify, in one place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from fastreid_ext.functional.distances import normalize
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.layers.cls import CLSLayer

__all__ = ["class_outputs", "class_weight", "classify"]


def class_weight(num_classes: int, dim: int) -> torch.nn.Parameter:
    """A new weight for `classify`, drawn from a normal distribution of standard deviation 0.01.

    Shape:
        Result: (num_classes, dim).
    """
    return torch.nn.Parameter(0.01 * torch.randn(num_classes, dim))


def class_outputs(embeddings: Tensor, weight: Tensor, cls_layer: CLSLayer) -> Tensor:
    """What `cls_layer` takes: linear outputs, or cosines.

    Cosines are taken in float32 even under autocast: the scale that follows would magnify what bfloat16 rounds off.

    Shape:
        embeddings: (B, D). weight: (C, D).
        Result: (B, C).

    Raises:
        ValueError: there are no classes.
    """
    if not len(weight):
        raise ValueError(
            "a head without classes can neither be trained nor classify: set MODEL.HEADS.NUM_CLASSES to the number of "
            "training identities"
        )
    if not cls_layer.takes_cosines:
        return linear(embeddings, weight)
    with torch.autocast(embeddings.device.type, enabled=False):
        return linear(normalize(widen(embeddings)), normalize(widen(weight)))


def classify(embeddings: Tensor, pids: Tensor, weight: Tensor, cls_layer: CLSLayer) -> dict[str, Tensor]:
    """Logits with the margins of `cls_layer` for the loss, and without them for the accuracy.

    Shape:
        embeddings: (B, D). pids: (B,). weight: (C, D).
        Results: `cls_outputs` (B, C), `pred_class_logits` (B, C).

    Raises:
        ValueError: there are no classes.
    """
    outputs = class_outputs(embeddings, weight, cls_layer)
    return {"cls_outputs": cls_layer(outputs, pids), "pred_class_logits": outputs * cls_layer.scale}
