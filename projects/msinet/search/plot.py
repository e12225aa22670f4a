"""The picture of a search: one small plot a layer, operations over epochs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.utils.env import require
from fastreid_ext.utils.files import atomic_write

__all__ = ["can_plot", "plot_history"]

_COLUMNS = 4


def can_plot() -> bool:
    """Whether matplotlib is installed and works."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        return False
    return True


def plot_history(
    epochs: Sequence[int], weights: Sequence[Sequence[Sequence[float]]], operations: Sequence[str], path: str | Path
) -> None:
    """Draws the weights of all operations in every layer over the epochs into a PNG file.

    Args:
        epochs: of the rows of `weights`.
        weights: epochs x layers x operations.
        operations: letters.
        path: of the file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", "viz", "the picture of a search")
    layers = len(weights[0])
    rows = -(-layers // _COLUMNS)
    figure = figures.Figure(figsize=(3 * _COLUMNS, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for layer, axes in enumerate(grid.flat):
        if layer >= layers:
            axes.set_axis_off()
            continue
        for place, letter in enumerate(operations):
            axes.plot(epochs, [epoch[layer][place] for epoch in weights], label=letter, linewidth=1.2)
        last = weights[-1][layer]
        axes.set_title(f"layer {layer + 1}: {operations[last.index(max(last))]}", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.margins(x=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("weight of the operation", fontsize=9)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(operations), fontsize=9)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=110)
