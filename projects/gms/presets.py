"""Named losses: hand-crafted ones, and those that the paper's searches found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.graph import Graph, GraphError
from fastreid_ext.projects.gms.parser import parse
from fastreid_ext.registry import close_matches

__all__ = ["HAND_CRAFTED", "PRESETS", "arcface", "as_graph", "circle", "cosface", "find_preset", "softmax"]


def as_graph(function: str | Graph) -> Graph:
    """A graph as it is, a text parsed.

    Raises:
        ParseError: the text is no expression.
        TypeError: it is neither.
    """
    if isinstance(function, Graph):
        return function
    if not isinstance(function, str):
        hint = "; a whole loss is GMSLoss.of(candidate)" if isinstance(function, Candidate) else ""
        raise TypeError(f"a function is a text such as 'x - 0.35', or a Graph, not {function!r}{hint}")
    return parse(function)


def loss(target: str, nontarget: str, log2_scale: float) -> Candidate:
    """A candidate from texts."""
    return Candidate(parse(target), parse(nontarget), log2_scale)


def softmax(log2_scale: float = 4.0) -> Candidate:
    """Normalised softmax: t = n = x."""
    return loss("x", "x", log2_scale)


def cosface(margin: float = 0.35, log2_scale: float = 5.0) -> Candidate:
    """CosFace: t = x - margin, n = x."""
    return loss(f"x - {margin!r}", "x", log2_scale)


def arcface(margin: float = 0.5, log2_scale: float = 5.0) -> Candidate:
    """ArcFace: t = cos(arccos(x) + margin), n = x."""
    return loss(f"cos(arccos(x) + {margin!r})", "x", log2_scale)


def circle(margin: float = 0.25, log2_scale: float = 6.0) -> Candidate:
    """Circle: t = de([1 + margin - x]+) (x - (1 - margin)), n = de([x + margin]+) (x - margin)."""
    return loss(
        f"de(relu({1 + margin!r} - x)) * (x - {1 - margin!r})",
        f"de(relu(x + {margin!r})) * (x - {margin!r})",
        log2_scale,
    )


_HALF_CIRCLE = circle()
HAND_CRAFTED: Mapping[str, Candidate] = MappingProxyType(
    {
        "softmax": softmax(),
        "cosface": cosface(),
        "arcface": arcface(),
        "circle": circle(),
        "combined": loss("cos(arccos(x) + 0.3) - 0.2", "x", 5.0),
        "li-arcface": loss(
            f"({math.pi!r} - 2 * (arccos(x) + 0.4)) / {math.pi!r}", f"({math.pi!r} - 2 * arccos(x)) / {math.pi!r}", 5.0
        ),
        "circle-target": Candidate(_HALF_CIRCLE.target, parse("x"), 5.0),
        "circle-nontarget": Candidate(parse("x - 0.35"), _HALF_CIRCLE.nontarget, 5.0),
        "cosface-arcface": loss("0.5 * (x - 0.35) + 0.5 * cos(arccos(x) + 0.5)", "x", 5.0),
        "cosface-circle": loss(
            "0.5 * (x - 0.35) + 0.5 * (de(relu(1.25 - x)) * (x - 0.75))",
            "0.5 * x + 0.5 * (de(relu(x + 0.25)) * (x - 0.25))",
            5.0,
        ),
    }
)
"""Ten losses of before the paper, and linear combinations of them: the predefined initial population of a search.

The paper says which kinds its ten are, not which; margins and scales here are usual ones (the paper's came from a grid
search whose values are not printed). Sources: CosFace, Wang et al. 2018; ArcFace, Deng et al. 2019; Circle, Sun et al.
2020; Li-ArcFace, Li et al. 2019, arXiv:1907.12256.
"""

PRESETS: Mapping[str, Candidate] = MappingProxyType(
    {
        **HAND_CRAFTED,
        "gms-zero": loss("(0.22 + exp(sqrt(0.22))) * x + arcsin(0.22)^2", "x + 0.85", 5.5),
        "gms-a": loss("de(1 - x) * (x - 0.7)", "relu(gd(x - sig(0.25)))", 7.5),
        "gms-b": loss("de(1.3 - x) * (x - 1)", "0.35 * x - 0.35^2", 6.0),
        "gms-c": loss("(x - 0.84) * (0.95 - x)", "relu(de(arcsin(x))) + (x - 0.5) + 0.05", 7.5),
        "gms-d": loss("x + 0.15", "x + 0.2", 4.0),
        "gms-pair": loss("de(1.4 - x) * (x - 0.5)", "0.3 + (0.05 + x * relu(sin(de(x))))^2", 6.5),
    }
)
"""`HAND_CRAFTED`, the five searched losses of Table 3, and "gms-pair" of section K, which is for pairs (eq. 20)."""


def find_preset(name: str) -> Candidate:
    """The preset of a name.

    Raises:
        GraphError: there is none; the message lists close matches.
    """
    if name not in PRESETS:
        name = str(name)
        hint = "".join(f" Did you mean {match}?" for match in close_matches(name, PRESETS, 1))
        raise GraphError(f"unknown loss {name!r}.{hint} There are: {', '.join(PRESETS)}")
    return PRESETS[name]
