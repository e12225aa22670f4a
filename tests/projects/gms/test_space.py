"""Random losses and offspring against Algorithms 2 and 3."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.parser import parse
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.space import LossSpace
from fastreid_ext.projects.gms.text import to_text

FIRST = Candidate(parse("x - 0.35"), parse("x"), 5.0)
SECOND = Candidate(parse("cos(arccos(x) + 0.5)"), parse("sin(x)"), 6.0)


def part(happened: str, name: str) -> str:
    return dict(piece.split(": ") for piece in happened.split("; ") if ": " in piece)[name]


def test_samples_come_from_the_grids() -> None:
    space, rng = LossSpace(), np.random.default_rng(0)
    samples = [space.sample(rng) for _ in range(300)]
    assert {sample.log2_scale for sample in samples} == {0.5 * step for step in range(1, 21)}
    graphs = [graph for sample in samples for graph in (sample.target, sample.nontarget)]
    constants = [constant for graph in graphs for constant in graph.constants]
    assert len(constants) == 2 * len(graphs)
    assert {round(constant / 0.05, 9) for constant in constants} == set(range(1, 21))
    assert all(len(graph.operations) <= 10 for graph in graphs)
    assert {operation.primitive for graph in graphs for operation in graph.operations} == set(PRIMITIVES)


def test_arguments_reach_the_samples() -> None:
    space = LossSpace(
        num_constants=1, max_operations=3, scale_step=1, scale_steps=2, constant_step=0.5, constant_steps=1
    )
    rng = np.random.default_rng(0)
    for _ in range(30):
        sample = space.sample(rng)
        assert sample.log2_scale in (1.0, 2.0)
        assert isinstance(sample.log2_scale, float)
        assert sample.target.constants == (0.5,)
        assert len(sample.target.operations) <= 3


def test_crossing_exchanges_one_graph_and_means_the_scales() -> None:
    space, rng = LossSpace(), np.random.default_rng(0)
    children = Counter(space.cross(FIRST, SECOND, rng) for _ in range(200))
    of_target = (Candidate(SECOND.target, FIRST.nontarget, 5.5), "cross t")
    of_nontarget = (Candidate(FIRST.target, SECOND.nontarget, 5.5), "cross n")
    assert set(children) == {of_target, of_nontarget}
    assert 70 < children[of_target] < 130


def test_each_part_is_copied_drawn_anew_or_changed() -> None:
    space, rng = LossSpace(), np.random.default_rng(0)
    counts: dict[str, Counter[str]] = {name: Counter() for name in "tns"}
    for _ in range(400):
        child, happened = space.mutate(FIRST, rng)
        for name, before, after in (
            ("t", FIRST.target, child.target),
            ("n", FIRST.nontarget, child.nontarget),
            ("s", FIRST.log2_scale, child.log2_scale),
        ):
            what = part(happened, name)
            counts[name][what if what in ("copied", "new") else "changed"] += 1
            assert what != "copied" or before == after
    for counted in counts.values():
        assert 20 < counted["copied"] < 65
        assert 85 < counted["new"] < 155
        assert 200 < counted["changed"] < 280


def test_a_change_is_one_to_three_mutations() -> None:
    space = LossSpace(copy_probability=0, reinit_probability=0)
    rng = np.random.default_rng(0)
    lengths: Counter[int] = Counter()
    for _ in range(200):
        child, happened = space.mutate(FIRST, rng)
        *mutations, constants = part(happened, "t").split(", ")
        lengths[len(mutations)] += 1
        assert all(mutation.split()[0] in ("insert", "delete", "replace") for mutation in mutations)
        assert constants == "constants"
        assert child.target.constants != FIRST.target.constants
        assert abs(child.target.constants[0] - 0.35) <= 0.05 * len(mutations)
        # Nothing to step, and nothing said about it.
        assert "constants" not in part(happened, "n")
        assert part(happened, "s") == "stepped"
        assert 0 < abs(child.log2_scale - 5) <= 1.5
    assert set(lengths) == {1, 2, 3}
    assert min(lengths.values()) > 40


def test_the_scale_stays_in_its_range() -> None:
    space = LossSpace(copy_probability=0, reinit_probability=0, max_mutations=1)
    rng = np.random.default_rng(0)
    for start, low, high in ((0.5, 0.5, 1.0), (10.0, 9.5, 10.0), (5.0, 4.5, 5.5)):
        parent = Candidate(FIRST.target, FIRST.nontarget, start)
        scales = [space.mutate(parent, rng)[0].log2_scale for _ in range(100)]
        assert low <= min(scales) < low + 0.1
        assert high - 0.1 < max(scales) <= high


def test_offspring_is_crossed_at_its_rate() -> None:
    space, rng = LossSpace(), np.random.default_rng(0)
    crossed = [space.offspring(FIRST, SECOND, rng)[1].startswith("cross") for _ in range(300)]
    assert 150 < sum(crossed) < 210
    copies = LossSpace(cross_probability=0, copy_probability=1, reinit_probability=1)
    assert copies.offspring(FIRST, SECOND, rng) == (FIRST, "t: copied; n: copied; s: copied")
    crossing = LossSpace(cross_probability=1, copy_probability=1, reinit_probability=1)
    child, happened = crossing.offspring(FIRST, SECOND, rng)
    assert happened in ("cross t; t: copied; n: copied; s: copied", "cross n; t: copied; n: copied; s: copied")
    assert child.log2_scale == 5.5


def test_the_same_seed_gives_the_same_offspring() -> None:
    space = LossSpace()

    def family(seed: int) -> list[tuple[Candidate, str]]:
        rng = np.random.default_rng(seed)
        children = [space.offspring(FIRST, SECOND, rng)]
        for _ in range(10):
            children.append(space.offspring(children[-1][0], FIRST, rng))
        return children

    assert family(1) == family(1) != family(2)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.integers(1, 10))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_generations_are_valid(seed: int, num_constants: int, max_operations: int) -> None:
    space = LossSpace(num_constants=num_constants, max_operations=max_operations)
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    for _ in range(8):
        first, second = space.offspring(first, second, rng)[0], first
        assert Candidate.from_json(json.loads(json.dumps(first.to_json()))) == first
        assert space.scale_step <= first.log2_scale <= space.largest_log2_scale
        for graph in (first.target, first.nontarget):
            assert len(graph.operations) <= max_operations
            assert len(graph.constants) == num_constants
            assert to_text(parse(to_text(graph))) == to_text(graph)


def test_description_is_json_and_tells_spaces_apart() -> None:
    described = LossSpace().describe()
    assert json.loads(json.dumps(described)) == described
    assert described["max_operations"] == 10
    assert described["primitives"] == list(PRIMITIVES)
    assert LossSpace(constant_step=0.1).describe() != described


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_constants": -1}, "num_constants is -1"),
        ({"max_operations": 0}, "max_operations is 0"),
        ({"max_operations": 2.5}, "max_operations is 2.5"),
        ({"max_mutations": True}, "max_mutations is True"),
        ({"scale_steps": 0}, "scale_steps is 0"),
        ({"constant_steps": 0}, "constant_steps is 0"),
        ({"scale_step": 0.0}, "scale_step is 0.0"),
        ({"constant_step": float("nan")}, "constant_step is nan"),
        ({"cross_probability": 1.2}, "cross_probability is 1.2"),
        ({"copy_probability": -0.1}, "copy_probability is -0.1"),
        ({"copy_probability": 0.5}, "reinit_probability is 0.4; it includes copy_probability, which is 0.5"),
        ({"scale_steps": 40}, "log2 s up to 20; 16 is allowed"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossSpace(**arguments)
