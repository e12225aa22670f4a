"""Features on a plane, near ones near each other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fastreid_ext.data.protocol import JUNK_PID
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.functional.distances import Metric, normalize
from fastreid_ext.utils.env import require

__all__ = ["FEWEST_IMAGES", "IdentityOrder", "choose_images", "tsne"]

IdentityOrder = Literal["most", "random"]

FEWEST_IMAGES = 4
"""Fewer have no neighbourhoods."""

_PERPLEXITY = 30.0


def choose_images(
    features: FeatureSet,
    *,
    images: int = 1000,
    identities: int = 20,
    order: IdentityOrder = "most",
    seed: int = 0,
) -> Tensor:
    """Images of some of the identities that queries show, of each about as many, drawn at random.

    Identities without a query, such as distractors, are left out, and so is junk.

    Args:
        features: of the images, in queries and gallery of whose first trial they are.
        images: at most so many.
        identities: at most so many.
        order: which identities: those of "most" images, or "random" ones.
        seed: of all that is random.

    Shape:
        Result: (n,), indices of images, identities one behind the other.

    Raises:
        ValueError: fewer than four images are left, of which there is no picture.
    """
    query, gallery = features.trials[0]
    generator = torch.Generator().manual_seed(seed)
    everything = torch.unique_consecutive(torch.cat((query, gallery)).sort().values)
    asked_for = torch.unique_consecutive(features.pids[query].sort().values)
    asked_for = asked_for[asked_for != JUNK_PID]
    asked_for = asked_for[torch.randperm(len(asked_for), generator=generator)]
    if order == "most":
        shown, counts = torch.unique_consecutive(features.pids[everything].sort().values, return_counts=True)
        asked_for = asked_for[counts[torch.searchsorted(shown, asked_for)].argsort(descending=True, stable=True)]
    everything = everything[torch.isin(features.pids[everything], asked_for[:identities])]
    everything = everything[torch.randperm(len(everything), generator=generator)]
    kept = everything[_places_within(features.pids[everything]).argsort(stable=True)[:images]].sort().values
    if len(kept) < FEWEST_IMAGES:
        raise ValueError(f"{features.name}: {len(kept)} images to draw; t-SNE needs at least {FEWEST_IMAGES}")
    chosen: Tensor = kept[features.pids[kept].argsort(stable=True)]
    return chosen


def tsne(values: Tensor, *, metric: Metric = "cosine", seed: int = 0) -> Tensor:
    """Places on a plane by t-SNE, with a perplexity of 30, or less where images are few.

    Args:
        values: features.
        metric: "cosine" places by the features' directions.
        seed: of the optimisation.

    Shape:
        values: (N, D). Result: (N, 2), float32.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: there are fewer than four features, or all are equal.

    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    manifold = require("sklearn.manifold", "viz", "t-SNE")
    if len(values) < FEWEST_IMAGES:
        raise ValueError(f"t-SNE needs at least {FEWEST_IMAGES} features, not {len(values)}")
    rows = values.float()
    if torch.equal(rows.amax(0), rows.amin(0)):
        raise ValueError("all features are equal: there is nothing to see in a t-SNE of them")
    if metric == "cosine":
        rows = normalize(rows)
    # A PCA to two dimensions needs as many; it makes the picture depend on the seed less.
    start = "pca" if rows.shape[1] > 1 else "random"
    perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
    model = manifold.TSNE(2, perplexity=perplexity, init=start, learning_rate="auto", random_state=seed)
    return torch.from_numpy(model.fit_transform(rows.numpy())).float()


def _places_within(pids: Tensor) -> Tensor:
    """How many images of its identity come before each."""
    ascending, order = pids.sort(stable=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(len(pids)) - torch.searchsorted(ascending, ascending)
    return places
