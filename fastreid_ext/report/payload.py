"""What the page is told: the contract between those who compute and the script that draws.

Numbers are rounded to what can be seen. All of it is JSON, but for pictures, which are kept beside it as JPEG bytes.
"""

from __future__ import annotations

from typing import TypedDict

__all__ = ["TSNE", "Activation", "Curves", "ImageRow", "ModelPart", "Payload", "QueryRow", "Result", "Totals"]

ImageRow = tuple[str, int, int]
"""Path (from the payload's folder on), pid, camid (-1 where cameras are not known)."""

Result = tuple[int, float, int]
"""A gallery image in its place of a ranking: index of the image, distance, and 1 where the identity is right or 0."""


class Curves(TypedDict):
    """Figures of all queries, and curves as lists of points.

    Attributes:
        cmc: of rank 1, 2, ..., shares from 0 to 1.
        fpr: of the ROC, ascending, from 0 to 1.
        tpr: at these.
        thresholds: distances at these; the first may be null (accept nothing).
        edges: of the bins of the distance histograms: one more than bins.
        genuine: share of the genuine pairs in each bin.
        impostor: share of the impostor pairs in each bin.
    """

    cmc: list[float]
    fpr: list[float]
    tpr: list[float]
    thresholds: list[float | None]
    edges: list[float]
    genuine: list[float]
    impostor: list[float]


class TSNE(TypedDict):
    """Places of some images on the unit square.

    Attributes:
        x: of each.
        y: of each, upwards.
        images: indices into the payload's list.
        queries: 1 for each that is a query, listed or not, else 0.
    """

    x: list[float]
    y: list[float]
    images: list[int]
    queries: list[int]


class QueryRow(TypedDict):
    """A query and what a model finds for it.

    Attributes:
        image: index of the query's image.
        ap: average precision, 0 to 1; null without a match in the gallery.
        first: rank of the first right image, from 1; null without a match.
        matches: right images in the gallery that count.
        results: the first of the ranking, without what is junk for the query.
        found: the first right image, where it is none of `results`; its rank is `first`.
    """

    image: int
    ap: float | None
    first: int | None
    matches: int
    results: list[Result]
    found: Result | None


class ModelPart(TypedDict):
    """What one model finds; `queries` of all models are the same images in the same order.

    Attributes:
        name: of the model, for people.
        fingerprint: of the model; empty for features of a file.
        metric: of the distances, for people: "cosine distance".
        ranking: "", or what the ranking is besides plain: "AQE + rerank".
        figures: such as {"mAP": 47.2, "mINP": 12.0, "Rank-1": 60.1}, in percent, in the order to show.
        curves: None where there is but one kind of pairs.
        tsne: None where it was not asked for.
        positions: height and width of activation maps before they are enlarged; None without maps.
        queries: of the test set.
    """

    name: str
    fingerprint: str
    metric: str
    ranking: str
    figures: dict[str, float]
    curves: Curves | None
    tsne: TSNE | None
    positions: tuple[int, int] | None
    queries: list[QueryRow]


class Activation(TypedDict):
    """Where in an image a model looks: indices of the model, the image and the activation picture."""

    model: int
    image: int
    picture: int


class Totals(TypedDict):
    """The test set, of which a part may be listed.

    Attributes:
        queries: images.
        gallery: images.
        identities: of the queries.
    """

    queries: int
    gallery: int
    identities: int


class Payload(TypedDict):
    """The whole page. Thumbnails are a list of JPEGs, one an image of `images`, empty where it cannot be read.

    Attributes:
        title: of the page.
        dataset: name of the test set.
        made: date, and the command that makes the page again; empty for none.
        folder: that all images are in, with a separator at its end; "" for none.
        totals: of the test set.
        images: that are shown, those of queries and of rankings.
        models: one or two.
        activations: of some images.
        notes: sentences for people, such as of images that cannot be read.
    """

    title: str
    dataset: str
    made: str
    folder: str
    totals: Totals
    images: list[ImageRow]
    models: list[ModelPart]
    activations: list[Activation]
    notes: list[str]
