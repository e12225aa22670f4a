"""A picture of features on a plane: a point or a small image each, in the colour of its identity."""

from __future__ import annotations

import os
from collections.abc import Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastreid_ext.data.image import UnreadableImage, read_image
from fastreid_ext.utils.env import require
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger

__all__ = ["FORMATS", "draw_places"]

FORMATS = (".png", ".pdf", ".svg")
"""Endings of the names of pictures."""

_INCHES = 10.0
_DPI = 200
_MARGIN = 0.04
# Sides of small images as shares of the picture's: few may be larger.
_SMALLEST, _LARGEST = 0.03, 0.07
# Of a small image; beyond, it would hide another one.
_HIDDEN = 0.4
# How far around a spot those count that are near it.
_NEAR = 0.04
_ABOVE = 0.014
_GOLDEN = 0.618034
_PURPOSE = "the picture of a t-SNE"


def draw_places(
    path: str | os.PathLike[str],
    places: Tensor,
    pids: Tensor,
    *,
    images: Sequence[str] = (),
    title: str = "",
) -> None:
    """Draws a point for each image in the colour of its identity, whose number stands above where most of it is.

    Args:
        path: of the picture; its ending chooses among `FORMATS`.
        places: on a plane.
        pids: identities.
        images: files of the images, drawn small in their places unless they would hide each other; none for points.
            A warning tells how many cannot be read; they stay points.
        title: above the picture.

    Shape:
        places: (N, 2). pids: (N,).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: another ending.
        OSError: it could not be written.

    Source: Elezi et al. 2022 (Group Loss++), Fig. 17.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: a picture's name ends in {', '.join(FORMATS)}")
    figure = require("matplotlib.figure", "viz", _PURPOSE).Figure(figsize=(_INCHES, _INCHES), facecolor="white")
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.95))
    axes.set_axis_off()
    spots = _scaled(places.double().numpy())
    axes.set(xlim=(0, 1), ylim=(0, 1))
    numbers, identity = np.unique(pids.numpy(), return_inverse=True)
    colours = _colours(len(numbers))
    of_images = [colours[i] for i in identity]
    axes.scatter(*spots.T, s=14 if images else 30, c=of_images, edgecolors="white", linewidths=0.4, zorder=1)
    side = _side(len(spots)) if images else 0.0
    if images:
        _draw_images(axes, spots, side, of_images, images)
    for number, pid in enumerate(numbers):
        _write_name(axes, _place_of_name(spots[identity == number], side), str(pid), colours[number])
    if title:
        figure.text(0.02, 0.98, title.replace("$", r"\$"), fontsize=13, color="#3c3c3c", va="top")
    _save(figure, path)


def _scaled(places: NDArray[Any]) -> NDArray[Any]:
    """Into the unit square, each axis by itself: a t-SNE has no sides."""
    low, high = places.min(axis=0), places.max(axis=0)
    scaled: NDArray[Any] = _MARGIN + (1 - 2 * _MARGIN) * (places - low) / np.where(high > low, high - low, 1)
    return scaled


def _side(images: int) -> float:
    """Of a small image, as a share of the picture's."""
    return float(np.clip(images**-0.5, _SMALLEST, _LARGEST))


def _place_of_name(spots: NDArray[Any], side: float) -> NDArray[Any]:
    """Above where most of an identity is: the middle of all of it may lie in another one."""
    squares = ((spots[:, None] - spots) ** 2).sum(axis=2)
    densest = np.exp(-squares / (2 * _NEAR**2)).sum(axis=1).argmax()
    highest = spots[squares[densest] < _NEAR**2, 1].max()
    return np.array([spots[densest, 0], highest + side / 2 + _ABOVE])


def _colours(number: int) -> list[tuple[float, float, float]]:
    """As different as so many can be: evenly spaced hues, neighbours of other brightness, in a scattered order."""
    palette = [hsv_to_rgb(i / number, (0.9, 0.6, 0.95)[i % 3], (0.85, 0.75, 0.55)[i % 3]) for i in range(number)]
    return [palette[i] for i in np.argsort([i * _GOLDEN % 1 for i in range(number)])]


def _draw_images(
    axes: Any, spots: NDArray[Any], side: float, colours: Sequence[tuple[float, float, float]], images: Sequence[str]
) -> None:
    """Those whose middle is far enough from that of each image before."""
    boxes = require("matplotlib.offsetbox", "viz", _PURPOSE)
    drawn: list[int] = []
    unreadable: list[UnreadableImage] = []
    for i, path in enumerate(images):
        if drawn and float(np.abs(spots[drawn] - spots[i]).max(axis=1).min()) < (1 - _HIDDEN) * side:
            continue
        try:
            image = read_image(path)
        except UnreadableImage as error:
            unreadable.append(error)
            continue
        drawn.append(i)
        image.thumbnail((round(side * _INCHES * _DPI),) * 2, Image.Resampling.LANCZOS)
        box = boxes.OffsetImage(np.asarray(image), zoom=72 / _DPI, resample=False)
        frame = {"edgecolor": colours[i], "linewidth": 2.2, "facecolor": "white"}
        axes.add_artist(boxes.AnnotationBbox(box, spots[i], pad=0, bboxprops=frame))
    if unreadable:
        more = f", and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        get_logger(__name__).warning(f"{len(unreadable)} images cannot be read and stay points: {unreadable[0]}{more}")


def _write_name(axes: Any, spot: NDArray[Any], name: str, colour: tuple[float, float, float]) -> None:
    effects = require("matplotlib.patheffects", "viz", _PURPOSE)
    halo = [effects.withStroke(linewidth=3, foreground="white")]
    text = {"ha": "center", "va": "center", "fontsize": 11, "fontweight": "bold"}
    axes.text(*spot, name, color=colour, path_effects=halo, zorder=10, **text)


def _save(figure: Any, path: Path) -> None:
    """Writes the file without a date and without random names in it."""
    matplotlib = require("matplotlib", "viz", _PURPOSE)
    form = path.suffix.lower()[1:]
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "fastreid_ext"}), atomic_write(path, "wb") as file:
        figure.savefig(file, format=form, dpi=_DPI, metadata=dates.get(form))
