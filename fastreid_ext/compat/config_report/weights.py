"""Whether a checkpoint fits the network of a config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from fastreid_ext.compat.config_report.network import Network

__all__ = ["fit"]

_CLASSIFIER = re.compile(r"(heads|\w+_head)\.weight")
_ONE_CHANNEL = re.compile(r"\bNL_\d\.\d+\.theta\.weight")


def fit(network: Network, weights: Mapping[str, Tensor]) -> list[str]:
    """Sentences on what fits and what does not.

    Args:
        network: of a config.
        weights: by state name.
    """
    if network.failure:
        return ["The network cannot be built here, so that there is nothing to compare with."]
    named = {name.removeprefix("module."): tuple(value.shape) for name, value in weights.items()}
    other = [name for name, shape in named.items() if network.shapes.get(name, shape) != shape]
    fitting = len(named.keys() & network.shapes.keys()) - len(other)
    told = [f"{fitting} of the network's {len(network.shapes)} tensors are in the checkpoint with the same shape."]
    told += [
        f"The classifier {name} has {named[name][0]:,} classes, here {network.shapes[name][0]:,}: it is left out; "
        f"features do not depend on it."
        for name in [name for name in other if _CLASSIFIER.fullmatch(name)][:1]
    ]
    other = [name for name in other if not _CLASSIFIER.fullmatch(name)]
    if any(_ONE_CHANNEL.search(name) and named[name][0] == 1 for name in other):
        told.append("Its non-local blocks have one channel, as FastReID's: set COMPAT.ONE_CHANNEL_NON_LOCAL True.")
    for title, names in (
        ("of another shape", other),
        ("missing in the checkpoint", [name for name in network.shapes if name not in named]),
        ("not in the network", [name for name in named if name not in network.shapes]),
    ):
        told += _listed(title, names)
    return told


def _listed(title: str, names: Sequence[str]) -> list[str]:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return [f"{len(names)} {title}: {', '.join(names[:4])}{more}."] if names else []
