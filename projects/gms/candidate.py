"""A loss as the search sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastreid_ext.projects.gms.graph import Graph, GraphError

__all__ = ["LARGEST_LOG2_SCALE", "Candidate"]

# Above it, scale times cosine leaves what float32 resolves; the search's own range ends at 10.
LARGEST_LOG2_SCALE = 16.0


@dataclass(frozen=True)
class Candidate:
    """Target function, non-target function and scale: Theta = {s, G_t, G_n}.

    Attributes:
        target: t, applied to the cosine of the true class.
        nontarget: n, applied to the cosines of the others.
        log2_scale: logarithm of the scale s to the base 2.

    Raises:
        GraphError: the scale is out of range.
    """

    target: Graph
    nontarget: Graph
    log2_scale: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.log2_scale) or abs(self.log2_scale) > LARGEST_LOG2_SCALE:
            raise GraphError(
                f"log2_scale is {self.log2_scale}; it goes from -{LARGEST_LOG2_SCALE:g} to {LARGEST_LOG2_SCALE:g}, "
                f"and the losses of the paper have 4 to 7.5"
            )

    @property
    def scale(self) -> float:
        """The factor of both functions."""
        return float(2.0**self.log2_scale)

    def to_json(self) -> dict[str, Any]:
        """Lists and numbers that `json` writes exactly."""
        return {
            "target": self.target.to_json(),
            "nontarget": self.nontarget.to_json(),
            "log2_scale": self.log2_scale,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Candidate:
        """What `to_json` made.

        Raises:
            GraphError: it is no candidate.
        """
        try:
            log2_scale = float(value["log2_scale"])
            target, nontarget = Graph.from_json(value["target"]), Graph.from_json(value["nontarget"])
        except GraphError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"no loss in JSON, which has target, nontarget, log2_scale: {error}") from error
        return cls(target, nontarget, log2_scale)

    def __str__(self) -> str:
        return f"t(x) = {self.target}, n(x) = {self.nontarget}, log2(s) = {self.log2_scale:g}"
