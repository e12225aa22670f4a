"""A random search for the setting that ranks a validation set best."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from fastreid_ext.engine.tuning.features import COARSE_ALPHAS, COARSE_SLOPES, Choices
from fastreid_ext.engine.tuning.setting import STRATEGIES, Rerank, Setting

__all__ = ["Found", "Limits", "SettingSearch"]

_PLAIN_SHARE = 0.75
_ON = 2 / 3
_BEST_FEW = 3
_ATTEMPTS = 50
_DIGITS = 6

# Of the length of embeddings: where it matters little, as much as the direction, and nearly alone.
_LEAST, _MOST = 0.01, 10.0
_ALONE_LENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
_FIRST_RERANKS = (Rerank(20, 6, 0.3), Rerank(20, 6, 0.85))


@dataclass(frozen=True)
class Limits:
    """What follows from the validation set.

    Attributes:
        length: mean length of the embeddings, which beta is relative to.
        neighbours: most images that an image can have as neighbours.
        euclidean: whether the metric without beta-normalisation sees lengths, so that beta 0 is another one.
    """

    length: float
    neighbours: int
    euclidean: bool = False


@dataclass(frozen=True)
class Found:
    """A setting that was tried.

    Attributes:
        setting: which.
        score: the figure that counts.
        figures: all of them, in percent.
    """

    setting: Setting
    score: float
    figures: Mapping[str, Any]


class SettingSearch:
    """Tries each strategy alone, then random settings, then re-ranking on top of the best few.

    Re-ranking costs most and is therefore tried least. Of settings with the same score the one with fewer strategies
    is the better, of these the one that was tried first.

    Args:
        base: the setting without any strategy to search.
        choices: what there is to choose from.
        limits: what follows from the validation set.
        evaluate: gives the score and all figures of a setting.
        seed: of everything random.

    Attributes:
        found: what was tried, in order; an interrupted search leaves what it has.
    """

    def __init__(
        self,
        base: Setting,
        choices: Choices,
        limits: Limits,
        evaluate: Callable[[Setting], tuple[float, Mapping[str, Any]]],
        *,
        seed: int = 0,
    ) -> None:
        self.base, self.choices, self.limits, self.evaluate = base, choices, limits, evaluate
        self.found: dict[Setting, Found] = {}
        self._random = random.Random(seed)

    @property
    def best(self) -> Found:
        """The best of what was tried."""
        return min(self.found.values(), key=_rank)

    def run(self, settings: int) -> Iterator[Found]:
        """Tries `settings` settings, and then, beyond that, the parts of the best one added up one by one."""
        reranks = "rerank" in self.choices.strategies
        plain = [name for name in self.choices.strategies if name != "rerank"]
        first = settings if not reranks else max(1, math.floor(_PLAIN_SHARE * settings)) if plain else 1
        for proposals, until in ((self._plain(), first), (self._reranked() if reranks else iter(()), settings)):
            for setting in proposals:
                if len(self.found) >= until:
                    break
                yield from self._try(setting)
        yield from self._sums_of_best()

    def sums(self) -> list[Setting]:
        """The best setting's strategies added to the base one by one, in the paper's order."""
        best, on = self.best.setting, [name for name in STRATEGIES if name in self.best.setting.strategies]
        added = [name for name in on if name not in self.base.strategies]
        return [best.without(added[count:]) for count in range(len(added) + 1)]

    def best_alone(self, strategy: str) -> Found | None:
        """The best of those tried that have this strategy beside the base, and no other."""
        wanted = {*self.base.strategies, strategy}
        alone = [found for found in self.found.values() if set(found.setting.strategies) == wanted]
        return min(alone, key=_rank, default=None)

    def _try(self, setting: Setting) -> Iterator[Found]:
        if setting not in self.found:
            score, figures = self.evaluate(setting)
            self.found[setting] = Found(setting, score, figures)
            yield self.found[setting]

    def _sums_of_best(self) -> Iterator[Found]:
        # A part of the best setting may turn out to be better than the whole.
        while any(setting not in self.found for setting in self.sums()):
            for setting in self.sums():
                yield from self._try(setting)

    def _plain(self) -> Iterator[Setting]:
        yield self.base
        alone = self._alone()
        for settings in zip_longest(*(alone[name] for name in self.choices.strategies if name in alone)):
            yield from (setting for setting in settings if setting is not None)
        tried: set[Setting] = set()
        misses = 0
        while misses < _ATTEMPTS and alone:
            setting = self._draw()
            misses = misses + 1 if setting in tried or setting in self.found else 0
            tried.add(setting)
            yield setting

    def _alone(self) -> dict[str, list[Setting]]:
        choices, base = self.choices, self.base
        alphas = [alpha for alpha in COARSE_ALPHAS if alpha in choices.alphas]
        slopes = COARSE_SLOPES if choices.slope_alone or base.alpha is not None else ()
        betas = [0.0] * self.limits.euclidean + [self._beta(length) for length in _ALONE_LENGTHS]
        alone = {
            "flip": [replace(base, flip=True)],
            "mixed_pool": [replace(base, alpha=alpha) for alpha in alphas],
            "beta_norm": [replace(base, beta=beta) for beta in betas],
            "leaky_relu": [replace(base, slope=slope) for slope in slopes],
        }
        return {name: settings for name, settings in alone.items() if name in choices.strategies}

    def _draw(self) -> Setting:
        draw, choices = self._random, self.choices
        on = {name for name in choices.strategies if draw.random() < _ON}
        setting = self.base
        if "mixed_pool" in on:
            setting = replace(setting, alpha=draw.choice(choices.alphas))
        if "leaky_relu" in on and (choices.slope_alone or setting.alpha is not None):
            setting = replace(setting, slope=draw.choice(choices.slopes))
        if "beta_norm" in on:
            setting = replace(setting, beta=self._beta(_log_uniform(draw, _LEAST, _MOST)))
        return replace(setting, flip=True) if "flip" in on else setting

    def _beta(self, length: float) -> float:
        return float(f"{length / max(self.limits.length, 1e-12):.3g}")

    def _reranked(self) -> Iterator[Setting]:
        """On the base, which shows what re-ranking does alone, and on the best few by turns."""
        plain = [found for found in self.found.values() if found.setting.rerank is None]
        few = [found.setting for found in sorted(plain, key=_rank)[:_BEST_FEW]]
        below = list(dict.fromkeys([*few, self.base]))
        for rerank in self._reranks():
            for setting in below:
                yield replace(setting, rerank=rerank)

    def _reranks(self) -> Iterator[Rerank]:
        most = self.limits.neighbours
        if most < 1:
            return
        seen: set[Rerank] = set()
        for first in _FIRST_RERANKS:
            seen.add(first._replace(k1=min(first.k1, most), k2=min(first.k2, most)))
        yield from sorted(seen)
        misses = 0
        while misses < _ATTEMPTS:
            k1 = round(_log_uniform(self._random, 1, min(most, 60)))
            k2 = round(_log_uniform(self._random, 1, min(k1, 15)))
            rerank = Rerank(k1, k2, round(self._random.random(), 2))
            misses = misses + 1 if rerank in seen else 0
            if rerank not in seen:
                seen.add(rerank)
                yield rerank


def _log_uniform(draw: random.Random, least: float, most: float) -> float:
    return math.exp(draw.uniform(math.log(least), math.log(most)))


def _rank(found: Found) -> tuple[float, int]:
    return -round(found.score, _DIGITS), len(found.setting.strategies)
