"""One way of using a trained model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fastreid_ext.config import CfgNode
from fastreid_ext.evaluation.rankings import rerank_variant

__all__ = ["STRATEGIES", "Rerank", "Setting"]

STRATEGIES = ("mixed_pool", "beta_norm", "leaky_relu", "rerank", "flip")
"""In the order in which the paper adds them up (Elezi et al. 2022, Table 4)."""

_FIELDS = dict(zip(STRATEGIES, ("alpha", "beta", "slope", "rerank", "flip"), strict=True))


class Rerank(NamedTuple):
    """Options of the re-ranking."""

    k1: int
    k2: int
    lambda_value: float
    variant: str = "released"


@dataclass(frozen=True)
class Setting:
    """Which inference strategies are on, and with which values; None and False are off.

    Attributes:
        alpha: share of the maximum in the mixed pooling.
        beta: of the normalisation.
        slope: of the leaky ReLU.
        rerank: options of the re-ranking.
        flip: whether embeddings of mirror images are averaged in.
    """

    alpha: float | None = None
    beta: float | None = None
    slope: float | None = None
    rerank: Rerank | None = None
    flip: bool = False

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Setting:
        """What `TEST` turns on."""
        test, again = cfg.TEST, cfg.TEST.RERANK
        return cls(
            test.MIXED_POOL.ALPHA if test.MIXED_POOL.ENABLED else None,
            test.BETA_NORM.BETA if test.BETA_NORM.ENABLED else None,
            test.LEAKY_RELU.SLOPE if test.LEAKY_RELU.ENABLED else None,
            Rerank(again.K1, again.K2, again.LAMBDA, rerank_variant(cfg)) if again.ENABLED else None,
            test.FLIP.ENABLED,
        )

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of those that are on."""
        return tuple(name for name, field in _FIELDS.items() if getattr(self, field) not in (None, False))

    def without(self, names: Collection[str]) -> Setting:
        """The same with these strategies off."""
        off = Setting()
        return replace(self, **{_FIELDS[name]: getattr(off, _FIELDS[name]) for name in names})

    def options(self, metric: str) -> dict[str, Any]:
        """The `TEST` block; options of what is off are left out.

        Args:
            metric: of the distances, where the setting does not need its own.
        """
        return {
            "METRIC": metric if self.beta is None else "euclidean",
            "MIXED_POOL": {"ENABLED": False} if self.alpha is None else {"ENABLED": True, "ALPHA": self.alpha},
            "LEAKY_RELU": {"ENABLED": False} if self.slope is None else {"ENABLED": True, "SLOPE": self.slope},
            "BETA_NORM": {"ENABLED": False} if self.beta is None else {"ENABLED": True, "BETA": self.beta},
            "FLIP": {"ENABLED": self.flip},
            "RERANK": {"ENABLED": False}
            if self.rerank is None
            else {
                "ENABLED": True,
                "K1": self.rerank.k1,
                "K2": self.rerank.k2,
                "LAMBDA": self.rerank.lambda_value,
                "VARIANT": self.rerank.variant,
            },
        }

    def describe(self) -> str:
        """What is on, in words."""
        again = self.rerank
        texts = {
            "mixed_pool": f"mixed pool {self.alpha}",
            "beta_norm": f"beta {self.beta}",
            "leaky_relu": f"leaky ReLU {self.slope}",
            "rerank": f"re-ranking {again.k1}, {again.k2}, {again.lambda_value}" if again else "",
            "flip": "flip",
        }
        return " + ".join(texts[name] for name in self.strategies) or "nothing"
