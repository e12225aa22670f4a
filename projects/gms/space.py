"""The space that the search draws losses from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from numpy.random import Generator

from fastreid_ext.projects.gms.candidate import LARGEST_LOG2_SCALE, Candidate
from fastreid_ext.projects.gms.construct import construct
from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.mutations import mutate, step_constants
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.programs import Programs

__all__ = ["LossSpace"]

_LEAST = {"num_constants": 0, "max_operations": 1, "scale_steps": 1, "constant_steps": 1, "max_mutations": 1}


@dataclass(frozen=True, kw_only=True)
class LossSpace:
    """Random losses, and losses made of others. The values are those of Table 2.

    A mutation of s is its step of eq. 8, kept in the range that s starts from; constants may leave theirs. What
    Algorithm 3 draws anew is drawn where it is needed, not a whole loss in advance.

    Attributes:
        num_constants: constants of a graph (n_c).
        max_operations: operations of a graph, at most (n_o).
        exact: random graphs have as many, as Algorithm 1 is printed; else any number from none to as many.
        scale_step: step of log2 s, also the smallest value (Δ_s).
        scale_steps: how many values log2 s starts from (N_s).
        constant_step: step of a constant, also the smallest value (Δ_c).
        constant_steps: how many values a constant starts from (N_c).
        cross_probability: how often two losses exchange t or n (p_c).
        copy_probability: how often t, n or s is left as it is (p_copy).
        reinit_probability: how often it is left as it is or drawn anew, together (p_re): Algorithm 3 compares one
            number with both.
        max_mutations: mutations at a time, at most (N_m).

    Raises:
        ValueError: a value is out of its range.

    Source: AutoLoss-GMS, Algorithms 2 and 3, eqs. 7 and 8 (reconstructed).
    """

    num_constants: int = 2
    max_operations: int = 10
    exact: bool = False
    scale_step: float = 0.5
    scale_steps: int = 20
    constant_step: float = 0.05
    constant_steps: int = 20
    cross_probability: float = 0.6
    copy_probability: float = 0.1
    reinit_probability: float = 0.4
    max_mutations: int = 3

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; it is a whole number, {least} or more")
        for name in ("scale_step", "constant_step"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value!r}; it is a number above 0")
        for name in ("cross_probability", "copy_probability", "reinit_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it goes from 0 to 1")
        if self.reinit_probability < self.copy_probability:
            raise ValueError(
                f"reinit_probability is {self.reinit_probability}; it includes copy_probability, which is "
                f"{self.copy_probability}"
            )
        if self.largest_log2_scale > LARGEST_LOG2_SCALE:
            raise ValueError(
                f"scale_step is {self.scale_step} and scale_steps is {self.scale_steps}, which makes log2 s up to "
                f"{self.largest_log2_scale:g}; {LARGEST_LOG2_SCALE:g} is allowed"
            )

    @property
    def largest_log2_scale(self) -> float:
        """The end of the range of log2 s; it begins at `scale_step`."""
        return self.scale_step * self.scale_steps

    def sample(self, rng: Generator) -> Candidate:
        """A random loss (Algorithm 2)."""
        return self.samples(rng, 1)[0]

    def samples(self, rng: Generator, count: int) -> list[Candidate]:
        """Random losses, made at once."""
        targets, nontargets = self._programs(rng, count), self._programs(rng, count)
        return [
            Candidate(targets.graph(index), nontargets.graph(index), self._log2_scale(rng)) for index in range(count)
        ]

    def cross(self, first: Candidate, second: Candidate, rng: Generator) -> tuple[Candidate, str]:
        """The first with t or n of the second and the mean of both log2 s (Algorithm 3, lines 4 to 8)."""
        log2_scale = (first.log2_scale + second.log2_scale) / 2
        if rng.random() < 0.5:
            return Candidate(second.target, first.nontarget, log2_scale), "cross t"
        return Candidate(first.target, second.nontarget, log2_scale), "cross n"

    def mutate(self, candidate: Candidate, rng: Generator) -> tuple[Candidate, str]:
        """Each of t, n and s copied, drawn anew or changed, and what happened (Algorithm 3, lines 9 to 37)."""
        target, of_target = self._mutate_graph(candidate.target, rng)
        nontarget, of_nontarget = self._mutate_graph(candidate.nontarget, rng)
        log2_scale, of_scale = self._mutate_scale(candidate.log2_scale, rng)
        return Candidate(target, nontarget, log2_scale), f"t: {of_target}; n: {of_nontarget}; s: {of_scale}"

    def offspring(self, first: Candidate, second: Candidate, rng: Generator) -> tuple[Candidate, str]:
        """A child of two losses, or of the first alone, and what happened (Algorithm 3)."""
        if rng.random() >= self.cross_probability:
            return self.mutate(first, rng)
        crossed, exchange = self.cross(first, second, rng)
        child, changes = self.mutate(crossed, rng)
        return child, f"{exchange}; {changes}"

    def describe(self) -> dict[str, Any]:
        """All that the space is made of, for JSON."""
        return {**asdict(self), "primitives": list(PRIMITIVES)}

    def to_json(self, candidate: Candidate) -> dict[str, Any]:
        """The loss for a file."""
        return candidate.to_json()

    def from_json(self, value: Mapping[str, Any]) -> Candidate:
        """The loss from a file.

        Raises:
            GraphError: it is none.
        """
        return Candidate.from_json(value)

    def _programs(self, rng: Generator, count: int) -> Programs:
        return construct(
            rng,
            count,
            num_constants=self.num_constants,
            num_operations=self.max_operations,
            constant_step=self.constant_step,
            constant_steps=self.constant_steps,
            exact=self.exact,
        )

    def _log2_scale(self, rng: Generator) -> float:
        return float(self.scale_step) * int(rng.integers(1, self.scale_steps, endpoint=True))

    def _mutate_graph(self, graph: Graph, rng: Generator) -> tuple[Graph, str]:
        drawn = rng.random()
        if drawn < self.copy_probability:
            return graph, "copied"
        if drawn < self.reinit_probability:
            return self._programs(rng, 1).graph(0), "new"
        changes = []
        for _ in range(self._num_mutations(rng)):
            graph = step_constants(graph, rng, self.constant_step)
            graph, change = mutate(graph, rng, max_operations=self.max_operations)
            changes.append(change)
        return graph, ", ".join([*changes, "constants"] if graph.constants else changes)

    def _mutate_scale(self, log2_scale: float, rng: Generator) -> tuple[float, str]:
        drawn = rng.random()
        if drawn < self.copy_probability:
            return log2_scale, "copied"
        if drawn < self.reinit_probability:
            return self._log2_scale(rng), "new"
        for _ in range(self._num_mutations(rng)):
            stepped = log2_scale + rng.uniform(-self.scale_step, self.scale_step)
            log2_scale = min(max(stepped, self.scale_step), self.largest_log2_scale)
        return log2_scale, "stepped"

    def _num_mutations(self, rng: Generator) -> int:
        return int(rng.integers(1, self.max_mutations, endpoint=True))
