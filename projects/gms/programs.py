"""Many graphs as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.graph import Graph, Operation
from fastreid_ext.projects.gms.primitives import PRIMITIVES

__all__ = ["OPCODES", "Losses", "Programs", "encode", "encode_losses"]

OPCODES = {name: place for place, name in enumerate(PRIMITIVES)}
"""A primitive's place in Table 1."""

_NAMES = tuple(PRIMITIVES)
_ARITIES = tuple(primitive.arity for primitive in PRIMITIVES.values())


@dataclass(frozen=True, eq=False)
class Programs:
    """Graphs one after the other, each with as many constants and operations as it likes.

    Graph i has the constants from `constant_starts[i]` up to `constant_starts[i + 1]`, operations likewise; its nodes,
    of which there is one more than constants and operations, begin at `i` plus both starts.

    Attributes:
        constants: values.
        constant_starts: where each graph's begin, and the number of all.
        opcodes: operations by their place in Table 1.
        left: first inputs, as numbers of the graph's nodes.
        right: second inputs; those of unary operations equal the first.
        operation_starts: where each graph's operations begin, and the number of all.
        outputs: whether a node is summed into the result.

    Shape:
        With G graphs, C constants and O operations altogether. constants: (C,). opcodes, left, right: (O,).
        constant_starts, operation_starts: (G + 1,). outputs: (G + C + O,).
    """

    constants: NDArray[np.float64]
    constant_starts: NDArray[np.int64]
    opcodes: NDArray[np.int8]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    operation_starts: NDArray[np.int64]
    outputs: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.operation_starts) - 1

    @property
    def arrays(
        self,
    ) -> tuple[
        NDArray[np.float64],
        NDArray[np.int64],
        NDArray[np.int8],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.bool_],
    ]:
        """The attributes, in order, as compiled functions take them."""
        return (
            self.constants,
            self.constant_starts,
            self.opcodes,
            self.left,
            self.right,
            self.operation_starts,
            self.outputs,
        )

    def graph(self, index: int) -> Graph:
        """One of them, by its number from 0."""
        first, last = (int(start) for start in self.operation_starts[index : index + 2])
        low, high = (int(start) for start in self.constant_starts[index : index + 2])
        operations = [
            Operation(_NAMES[code], (left, right)[: _ARITIES[code]])
            for code, left, right in zip(
                self.opcodes[first:last].tolist(),
                self.left[first:last].tolist(),
                self.right[first:last].tolist(),
                strict=True,
            )
        ]
        outputs = self.outputs[index + low + first : index + 1 + high + last]
        return Graph(
            tuple(self.constants[low:high].tolist()), tuple(operations), tuple(np.flatnonzero(outputs).tolist())
        )


@dataclass(frozen=True, eq=False)
class Losses:
    """Candidates, many as arrays.

    Attributes:
        target: functions of the true class's cosine.
        nontarget: functions of the others.
        log2_scales: logarithms of the scales to the base 2.

    Shape:
        log2_scales: (L,).
    """

    target: Programs
    nontarget: Programs
    log2_scales: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.log2_scales)

    def candidate(self, index: int) -> Candidate:
        """One of them, by its number from 0."""
        return Candidate(self.target.graph(index), self.nontarget.graph(index), float(self.log2_scales[index]))


def encode_losses(candidates: Sequence[Candidate]) -> Losses:
    """The candidates as arrays; `candidate(i)` gives each back as it was."""
    return Losses(
        encode([candidate.target for candidate in candidates]),
        encode([candidate.nontarget for candidate in candidates]),
        np.array([candidate.log2_scale for candidate in candidates], np.float64),
    )


def encode(graphs: Sequence[Graph]) -> Programs:
    """The graphs as arrays; `graph(i)` gives each back as it was."""
    operations = [operation for graph in graphs for operation in graph.operations]
    outputs = np.zeros(sum(graph.num_nodes for graph in graphs), np.bool_)
    starts = accumulate((graph.num_nodes for graph in graphs), initial=0)
    outputs[[start + node for start, graph in zip(starts, graphs, strict=False) for node in graph.outputs]] = True
    return Programs(
        constants=np.array([constant for graph in graphs for constant in graph.constants], np.float64),
        constant_starts=_starts([len(graph.constants) for graph in graphs]),
        opcodes=np.array([OPCODES[operation.primitive] for operation in operations], np.int8),
        left=np.array([operation.inputs[0] for operation in operations], np.int32),
        right=np.array([operation.inputs[-1] for operation in operations], np.int32),
        operation_starts=_starts([len(graph.operations) for graph in graphs]),
        outputs=outputs,
    )


def _starts(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
