"""The authors' weights, whose names are FastReID's but for one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fastreid_ext.modeling.checkpoint import CheckpointError
from fastreid_ext.modeling.checkpoint_filters import CHECKPOINT_FILTERS

__all__ = ["checkpoint_filter"]

_EXTRA = "heads_extra_bn."


@CHECKPOINT_FILTERS.register("adasp", source="https://github.com/Astaxanthin/AdaSP")
def checkpoint_filter(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor] | None:
    """Weights of the AdaSP authors' code, a fork of FastReID: names and layers are FastReID's and ours, for MGN and for
    one branch, and need no filter.

    The fork can put a batch norm between backbone and head (`MODEL.BACKBONE.EXTRA_BN`, off in all their configs).
    `Baseline` has none; features without it would be others, although no weight of the model would be missing.

    Args:
        weights: by the authors' names.
        model: that they are for.

    Returns:
        None: the names are FastReID's.

    Raises:
        CheckpointError: the weights have that batch norm, and the model has not.
    """
    extra = [name for name in weights if name.startswith(_EXTRA)]
    if extra and not any(name.startswith(_EXTRA) for name in model.state_dict()):
        raise CheckpointError(
            f"the checkpoint was trained with MODEL.BACKBONE.EXTRA_BN of the AdaSP authors' code, a batch norm between "
            f"backbone and head that {type(model).__name__} does not have: nothing takes {', '.join(extra)}. "
            f"Train with EXTRA_BN False, or register a meta-architecture with a part 'heads_extra_bn'"
        )
    return None
