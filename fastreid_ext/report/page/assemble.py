"""Puts markup, style, script, numbers and pictures into one HTML file that needs nothing else."""

from __future__ import annotations

import html
import io
import json
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from importlib.resources import files
from itertools import islice
from statistics import median
from string import Template

from PIL import Image

from fastreid_ext.report.payload import Payload
from fastreid_ext.utils.files import atomic_write

__all__ = ["write_page"]

# Later ones use what earlier ones define.
_SCRIPTS = (
    *("dom", "data", "state", "selection", "plot", "curves", "list", "rows"),
    *("queries", "dialog", "scatter", "activations", "keys", "main"),
)
_PER_BLOCK = 200
_LOOKED_AT = 50


def write_page(
    path: str | os.PathLike[str],
    payload: Payload,
    thumbnails: Sequence[bytes],
    activation_pictures: Sequence[bytes],
) -> None:
    """Writes the page, whole or not at all. It works from `file://`, without a network, in browsers since mid 2024.

    Args:
        path: of the HTML file.
        payload: what is on the page.
        thumbnails: JPEGs, one an image of the payload; empty where it cannot be read.
        activation_pictures: JPEGs that the payload's activations name.

    Raises:
        ValueError: pictures or models do not fit each other, or a number of the payload is NaN or infinite.
        OSError: the file cannot be written.
    """
    _check(payload, thumbnails, activation_pictures)
    before, after = _markup(payload, thumbnails).split("<!-- pictures -->")
    with atomic_write(path) as file:
        file.write(before)
        file.writelines(_blocks("thumbnails", thumbnails))
        file.writelines(_blocks("activations", activation_pictures))
        file.write(after)


def _check(payload: Payload, thumbnails: Sequence[bytes], activation_pictures: Sequence[bytes]) -> None:
    if len(thumbnails) != len(payload["images"]):
        raise ValueError(f"{len(thumbnails)} thumbnails for {len(payload['images'])} images of the page")
    if len(payload["models"]) not in (1, 2):
        raise ValueError(f"the page shows one or two models; got {len(payload['models'])}")
    missing = [each for each in payload["activations"] if each["picture"] >= len(activation_pictures)]
    if missing:
        raise ValueError(f"{len(missing)} activations name pictures beyond the {len(activation_pictures)} given")
    queries = [[query["image"] for query in model["queries"]] for model in payload["models"]]
    if any(each != queries[0] for each in queries):
        raise ValueError("the two models have different queries: they can be compared on the same ones only")


def _markup(payload: Payload, thumbnails: Sequence[bytes]) -> str:
    style = _read("style.css")
    script = f'(() => {{\n"use strict";\n{"".join(_read(f"app_{name}.js") for name in _SCRIPTS)}}})();\n'
    return Template(_read("page.html")).substitute(
        # Names of folders are bytes, which need not be text.
        title=html.escape(payload["title"].encode("utf-8", "replace").decode()),
        policy="; ".join(
            [
                "default-src 'none'",
                "img-src data:",
                f"style-src {_fingerprint(style)}",
                f"script-src {_fingerprint(script)}",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
        style=style,
        script=script,
        payload=_json(payload),
        aspect=f"{_usual_aspect(thumbnails):.3f}",
        per_block=_PER_BLOCK,
    )


def _read(name: str) -> str:
    return files("fastreid_ext.report.page").joinpath(name).read_text(encoding="utf-8")


def _fingerprint(text: str) -> str:
    """By which a browser knows that the text between two tags is ours."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _json(payload: Payload) -> str:
    # All but ASCII is written as \\u....; what could end the script element or start a comment in it must be, too.
    text = json.dumps(payload, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _usual_aspect(thumbnails: Sequence[bytes]) -> float:
    """Width by height of the median of the first thumbnails."""
    readable = islice(filter(None, thumbnails), _LOOKED_AT)
    sizes = [Image.open(io.BytesIO(each)).size for each in readable]
    return median(width / height for width, height in sizes) if sizes else 1.0


def _blocks(kind: str, pictures: Iterable[bytes]) -> Iterator[str]:
    """Elements with many pictures each, base64, one a line: a browser keeps them as text until one is looked at."""
    remaining = iter(pictures)
    while block := list(islice(remaining, _PER_BLOCK)):
        lines = "\n".join(b64encode(each).decode() for each in block)
        yield f'<script type="text/plain" data-pictures="{kind}">{lines}</script>\n'
