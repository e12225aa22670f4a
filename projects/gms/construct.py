"""Forward construction of random graphs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.programs import OPCODES, Programs

__all__ = ["construct", "construct_graph"]

_UNARY = np.array([OPCODES[name] for name, primitive in PRIMITIVES.items() if primitive.arity == 1], np.int8)
_BINARY = np.array([OPCODES[name] for name, primitive in PRIMITIVES.items() if primitive.arity == 2], np.int8)


def construct(
    rng: np.random.Generator,
    count: int,
    *,
    num_constants: int = 2,
    num_operations: int = 10,
    constant_step: float = 0.05,
    constant_steps: int = 20,
    exact: bool = False,
) -> Programs:
    """Random graphs, many at once.

    Each step enumerates all pairs of an operation and its inputs among the nodes so far, ordered pairs of nodes for
    binary operations, and draws one of them uniformly. In the end all nodes without a successor are outputs.

    Args:
        rng: is drawn from.
        count: number of graphs.
        num_constants: of each graph.
        num_operations: of each graph, or at most, as `exact` says.
        constant_step: the least constant, and what lies between one and the next.
        constant_steps: number of constants to choose from.
        exact: each graph has `num_operations`, as the loop is printed; else a number drawn uniformly from 0 to it, as
            "the maximum number" in its head can be read.

    Source: AutoLoss-GMS, Algorithm 1, n_c = 2, n_o = 10, Delta_c = 0.05, N_c = 20.
    """
    # Rounded, so that 7 times 0.05 prints as 0.35.
    constants = np.round(constant_step * rng.integers(1, constant_steps, (count, num_constants), endpoint=True), 12)
    nodes = 1 + num_constants + np.arange(num_operations)
    choices = rng.integers(0, len(_UNARY) * nodes + len(_BINARY) * nodes**2, (count, num_operations))
    lengths = np.full(count, num_operations)
    if not exact:
        lengths = rng.integers(0, num_operations, count, endpoint=True)
    opcodes, left, right = _decode(choices, nodes)
    made = np.arange(num_operations) < lengths[:, None]
    present = np.concatenate([np.ones((count, 1 + num_constants), np.bool_), made], axis=1)
    used = np.zeros((count, 1 + num_constants + num_operations), np.bool_)
    graphs = np.nonzero(made)[0]
    used[graphs, left[made]] = True
    used[graphs, right[made]] = True
    return Programs(
        constants=constants.ravel().astype(np.float64),
        constant_starts=num_constants * np.arange(count + 1),
        opcodes=opcodes[made],
        left=left[made],
        right=right[made],
        operation_starts=np.concatenate([[0], np.cumsum(lengths)]),
        outputs=~used[present],
    )


def construct_graph(
    rng: np.random.Generator,
    *,
    num_constants: int = 2,
    num_operations: int = 10,
    constant_step: float = 0.05,
    constant_steps: int = 20,
    exact: bool = False,
) -> Graph:
    """One random graph: `construct` with a count of one.

    Args:
        rng: is drawn from.
        num_constants: of the graph.
        num_operations: of the graph, or at most, as `exact` says.
        constant_step: the least constant, and what lies between one and the next.
        constant_steps: number of constants to choose from.
        exact: make just `num_operations`.
    """
    return construct(
        rng,
        1,
        num_constants=num_constants,
        num_operations=num_operations,
        constant_step=constant_step,
        constant_steps=constant_steps,
        exact=exact,
    ).graph(0)


def _decode(
    choices: NDArray[np.int64], nodes: NDArray[np.int64]
) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int32]]:
    """Opcodes and inputs by their numbers in the enumeration: unary ones first, input by input, then binary ones."""
    of_pairs = choices - len(_UNARY) * nodes
    unary = of_pairs < 0
    pair = of_pairs % nodes**2
    left = np.where(unary, choices % nodes, pair // nodes)
    right = np.where(unary, left, pair % nodes)
    opcodes = np.where(
        unary,
        _UNARY[np.where(unary, choices // nodes, 0)],
        _BINARY[np.where(unary, 0, of_pairs // nodes**2)],
    )
    return opcodes, left.astype(np.int32), right.astype(np.int32)
