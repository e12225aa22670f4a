"""What the runs of a sweep came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["SettingResult"]


@dataclass(frozen=True)
class SettingResult:
    """One setting of a sweep: a config with a value of each axis, trained with several seeds.

    Attributes:
        labels: what sets it apart, by name: "config", and the config keys that vary; in the order of the sweep.
        figures: of each seed that has ended, figures by name, such as "Market1501/mAP" or
            "MarketLayout:/data/mine/Rank-1": the test set, a slash, the metric.
        failures: of each seed that failed, why.
        seeds: all seeds that are planned.
    """

    labels: Mapping[str, str]
    figures: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
