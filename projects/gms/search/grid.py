"""Hand-crafted losses with a small grid of scales and margins: what a found loss is compared with."""

from __future__ import annotations

from itertools import product

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.presets import arcface, circle, cosface, softmax

__all__ = ["baseline_grid", "family"]


def baseline_grid() -> list[tuple[Candidate, str]]:
    """Losses and their names, such as "cosface m=0.35 log2 s=5"."""
    losses = [(softmax(scale), f"softmax log2 s={scale:g}") for scale in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    for name, make, margins, scales in (
        ("cosface", cosface, (0.1, 0.2, 0.35), (2.0, 3.0, 4.0, 5.0)),
        ("arcface", arcface, (0.1, 0.3, 0.5), (2.0, 3.0, 4.0, 5.0)),
        ("circle", circle, (0.15, 0.25, 0.35), (3.0, 4.0, 5.0, 6.0, 7.0)),
    ):
        losses += [
            (make(margin, scale), f"{name} m={margin:g} log2 s={scale:g}") for margin, scale in product(margins, scales)
        ]
    return losses


def family(name: str) -> str:
    """Which loss a name of the grid is of."""
    return name.split()[0]
