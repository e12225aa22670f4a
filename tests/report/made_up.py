"""Payloads of pages whose numbers are known without a model."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from fastreid_ext.report.page.assemble import write_page
from fastreid_ext.report.payload import TSNE, Curves, ModelPart, Payload, QueryRow, Result

__all__ = ["MadeUp", "jpeg", "made_up"]


@dataclass(frozen=True)
class MadeUp:
    """What `write_page` asks for."""

    payload: Payload
    thumbnails: list[bytes]
    activation_pictures: list[bytes]

    def write(self, folder: Path, name: str = "report.html") -> Path:
        write_page(folder / name, self.payload, self.thumbnails, self.activation_pictures)
        return folder / name

    def rows(self, model: int = 0) -> list[QueryRow]:
        return self.payload["models"][model]["queries"]


@cache
def jpeg(number: int, size: tuple[int, int] = (8, 16)) -> bytes:
    """A picture of one colour; neighbouring numbers have colours that JPEG keeps apart."""
    file = io.BytesIO()
    colour = (number * 8 % 256, number * 8 // 256 * 16 % 256, 128)
    Image.new("RGB", size, colour).save(file, "JPEG")
    return file.getvalue()


def made_up(
    queries: int = 12,
    results: int = 5,
    models: int = 1,
    *,
    unmatched: int = 0,
    unreadable: int = 0,
    extras: bool = True,
    path: Callable[[int], str] = "query/{:04d}.jpg".format,
) -> MadeUp:
    """Two queries an identity, three cameras; the last `unmatched` of the queries have no match.

    The first images are the queries, as many of the gallery follow. The first `unreadable` have no thumbnail.
    `extras`: curves, activation maps of the first three queries and their results, t-SNE and a note.
    """
    images = [(path(i), i // 2, i % 3) for i in range(queries)]
    images += [(f"gallery/{i:04d}.jpg", i // 2, i % 3) for i in range(queries)]
    shown = [*range(3), *range(queries, queries + 3)] if extras else []
    payload: Payload = {
        "title": "Made up",
        "dataset": "Nowhere",
        "made": "python tools/visualize.py",
        "folder": "/data/",
        "totals": {"queries": queries, "gallery": queries, "identities": (queries + 1) // 2},
        "images": images,
        "models": [_model(place, queries, results, unmatched, extras) for place in range(models)],
        "activations": [
            {"model": model, "image": image, "picture": 100 * model + place}
            for model in range(models)
            for place, image in enumerate(shown)
        ],
        "notes": ["1 image cannot be read: <gone>.jpg"] if extras else [],
    }
    thumbnails = [b"" if i < unreadable else jpeg(i % 200) for i in range(len(images))]
    return MadeUp(payload, thumbnails, [jpeg(i) for i in range(200)] if extras else [])


def _model(place: int, queries: int, results: int, unmatched: int, extras: bool) -> ModelPart:
    rows = [_query(i, place, queries, results, matched=i < queries - unmatched) for i in range(queries)]
    return {
        "name": f"model {'AB'[place]}",
        "fingerprint": "0123456789abcdef",
        "metric": "cosine distance",
        "ranking": "",
        "figures": {"mAP": 40.0 + 2.5 * place, "Rank-1": 60.0 - place},
        "curves": _curves() if extras else None,
        "tsne": _tsne(queries) if extras else None,
        "positions": (4, 2) if extras else None,
        "queries": rows,
    }


def _query(i: int, model: int, queries: int, results: int, *, matched: bool) -> QueryRow:
    """AP goes through the hundredths in steps of 37, or 61, which meet each before they meet one again."""
    right_at = i % 4
    found: list[Result] = [
        (queries + (i + rank) % queries, round(0.1 + 0.05 * rank, 3), int(matched and rank == right_at))
        for rank in range(results)
    ]
    precision = (i * (37, 61)[model] + 5) % 101 / 100
    return {
        "image": i,
        "ap": precision if matched else None,
        "first": right_at + 1 if matched else None,
        "matches": 2 * matched,
        "results": found,
        "found": None,
    }


def _curves() -> Curves:
    return {
        "cmc": [0.6, 0.7, 0.75, 0.9],
        "fpr": [0.0, 0.001, 0.01, 0.1, 1.0],
        "tpr": [0.0, 0.2, 0.5, 0.8, 1.0],
        "thresholds": [None, 0.2, 0.3, 0.5, 1.2],
        "edges": [0.0, 0.4, 0.8, 1.2],
        "genuine": [0.7, 0.2, 0.1],
        "impostor": [0.1, 0.3, 0.6],
    }


def _tsne(queries: int) -> TSNE:
    """The first query lies alone, in the middle."""
    images = list(range(min(2 * queries, 50)))
    corner = [i / 400 for i in images[1:]]
    return {"x": [0.5, *corner], "y": [0.5, *corner], "images": images, "queries": [int(i < queries) for i in images]}
