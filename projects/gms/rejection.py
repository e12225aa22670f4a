"""The loss-rejection protocol's first two stages, and the equivalence check."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.construct import construct
from fastreid_ext.projects.gms.kernels import LARGEST, evaluate
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.programs import Losses, Programs, encode_losses
from fastreid_ext.utils.threads import block_pool, in_order

__all__ = ["Screening", "Verdict"]

Numbers = NDArray[np.float64]

# Losses that are checked together: what they need stays in the cache.
_BLOCK = 128

# By how much, of a point's number and at least of 1, rounding may break a property there.
_ROUNDING = 1e-12

_PRIMITIVES = tuple(PRIMITIVES.values())


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the screening says of a candidate.

    Attributes:
        reason: "" when it passed, else the stage and what was wrong: "values: ..." or "properties: ...".
        key: the same for equivalent candidates, "" when rejected. What differs by rounding alone is nearly always one,
            but a value on the edge between two decimals may part it.
        vector: t and n at the points, and log2 s, empty when rejected; fv of eq. 10.

    Shape:
        vector: (2 * points + 1,).
    """

    reason: str
    key: str = ""
    vector: Numbers = field(default_factory=partial(np.empty, 0))


class Screening:
    """Rejects losses that cannot train, and finds those that are the same.

    A function and its derivative must be finite at equally spaced points of [-1, 1], in float32, times the scale too,
    and no operation may leave its true domain there. Then t' >= 0, n' >= 0 and n >= t must hold at a share of the
    points, equality included; derivatives are autograd's, for which `de(x)` is a constant.

    Two losses are the same when scale, t, n, t' and n' agree. The derivatives are ours: `de(x)*x` has the values of
    `x^2`, but trains differently.

    Args:
        points: how many; N.
        digits: decimals to which losses must agree; Gamma.
        property_share: of the points, at which each property must hold; tau_p.

    Source: AutoLoss-GMS, section 3.3 as reconstructed, supplement D, N = 257, Gamma = 13, tau_p = 80 %.
    """

    def __init__(self, points: int = 257, digits: int = 13, property_share: float = 0.8) -> None:
        self.points = np.linspace(-1, 1, points)
        self.digits = digits
        self.property_share = property_share

    def check(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """What it says of each."""
        return self.check_losses(encode_losses(candidates))

    def check_losses(self, losses: Losses) -> list[Verdict]:
        """`check` of candidates that are arrays already, on as many threads as torch has."""
        starts = range(0, len(losses), _BLOCK)
        blocks = (np.arange(start, min(start + _BLOCK, len(losses))) for start in starts)
        with block_pool(torch.device("cpu"), len(starts)) as pool:
            checked = in_order(partial(self._check_block, losses), blocks, pool=pool, ahead=4)
            return [verdict for block in checked for verdict in block]

    def sample(
        self,
        rng: np.random.Generator,
        count: int,
        *,
        make: Callable[[np.random.Generator, int], Programs] = construct,
        scale_step: float = 0.5,
        scale_steps: int = 20,
    ) -> tuple[Losses, list[Verdict]]:
        """Random losses and what it says of them.

        Args:
            rng: is drawn from.
            count: number of losses.
            make: draws graphs: `construct`, with other settings than its own where they are bound.
            scale_step: the least log2 s, and what lies between one and the next.
            scale_steps: number of scales to choose from.

        Source: AutoLoss-GMS, Algorithm 2, Delta_s = 0.5, N_s = 20.
        """
        log2_scales = scale_step * rng.integers(1, scale_steps, count, endpoint=True)
        losses = Losses(make(rng, count), make(rng, count), log2_scales.astype(np.float64))
        return losses, self.check_losses(losses)

    def _check_block(self, losses: Losses, which: NDArray[np.int64]) -> list[Verdict]:
        reasons = [""] * len(which)
        left = np.arange(len(which))
        curves: list[Numbers] = []
        for name, programs in (("t", losses.target), ("n", losses.nontarget)):
            values, slopes, faults = self._evaluate(programs, which[left], np.exp2(losses.log2_scales[which[left]]))
            for k in np.flatnonzero(faults[:, 0] >= 0).tolist():
                reasons[left[k]] = self._fault(name, programs, int(which[left[k]]), faults[k])
            fine = faults[:, 0] < 0
            left = left[fine]
            curves = [*(curve[fine] for curve in curves), values[fine], slopes[fine]]
        broken = self._broken_properties(*curves)
        for k, reason in zip(left.tolist(), broken, strict=True):
            reasons[k] = reason
        verdicts = [Verdict(reason) for reason in reasons]
        for k, key, vector in self._passed(left, broken, losses.log2_scales[which[left]], curves):
            verdicts[k] = Verdict("", key, vector)
        return verdicts

    def _evaluate(
        self, programs: Programs, which: NDArray[np.int64], scales: Numbers
    ) -> tuple[Numbers, Numbers, Numbers]:
        """Values, slopes and faults of `evaluate`; a result too large for its scale is a fault of node infinity."""
        values, slopes = np.empty((len(which), len(self.points))), np.empty((len(which), len(self.points)))
        faults = np.empty((len(which), 3))
        evaluate(programs.arrays, which, self.points[None], True, values, slopes, faults)
        fine = np.flatnonzero(faults[:, 0] < 0)
        size = np.maximum(abs(values[fine]), abs(slopes[fine]))
        place = size.argmax(1)
        large = size[np.arange(len(fine)), place] > LARGEST / scales[fine]
        faults[fine[large]] = np.stack([np.full(large.sum(), np.inf), place[large], scales[fine[large]]], axis=1)
        return values, slopes, faults

    def _fault(self, name: str, programs: Programs, index: int, fault: Numbers) -> str:
        node, place, argument = fault.tolist()
        text = f"values: {name} is not finite at x = {self.points[int(place)]:.4g}, "
        if np.isinf(node):
            return f"{text}where the scale multiplies it by {argument:.4g}"
        first, last = programs.operation_starts[index : index + 2]
        operation = int(node) - 1 - int(programs.constant_starts[index + 1] - programs.constant_starts[index])
        if operation == last - first:
            return f"{text}where its outputs are added"
        primitive = _PRIMITIVES[programs.opcodes[first + operation]]
        if primitive.arity == 2 and primitive.name != "div":
            return f"{text}where {primitive.name} overflows"
        return f"{text}where {primitive.name} takes {argument:.4g}"

    def _broken_properties(self, t: Numbers, t_slope: Numbers, n: Numbers, n_slope: Numbers) -> list[str]:
        """The first property that each of some losses breaks, or "" for none."""
        reasons = [""] * len(t)
        # The first property comes last, and replaces what others wrote.
        for text, margin, size in (
            ("n >= t", n - t, np.maximum(abs(n), abs(t))),
            ("n' >= 0", n_slope, abs(n_slope)),
            ("t' >= 0", t_slope, abs(t_slope)),
        ):
            shares = (margin >= -_ROUNDING * np.maximum(size, 1)).mean(1)
            for k in np.flatnonzero(shares < self.property_share).tolist():
                reasons[k] = (
                    f"properties: {text} at {100 * shares[k]:.3g} % of the points, "
                    f"{100 * self.property_share:.3g} % are needed"
                )
        return reasons

    def _passed(
        self, places: NDArray[np.int64], broken: Sequence[str], log2_scales: Numbers, curves: Sequence[Numbers]
    ) -> Iterator[tuple[int, str, Numbers]]:
        """Place, key and vector of those losses that break no property."""
        fine = np.array([not reason for reason in broken], np.bool_)
        t, t_slope, n, n_slope = (curve[fine] for curve in curves)
        scales = log2_scales[fine, None]
        # Adding zero makes one of the two zeros.
        rounded = np.concatenate([scales, t, t_slope, n, n_slope], axis=1).round(self.digits) + 0.0
        vectors = np.concatenate([t, n, scales], axis=1)
        for place, row, vector in zip(places[fine].tolist(), rounded, vectors, strict=True):
            yield place, hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest(), vector
