"""Whether a test set belongs to the domain that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from fastreid_ext.data.datasets import ReIDDataset

__all__ = ["in_domain", "is_transfer", "specs_of"]


def is_transfer(dataset: ReIDDataset, trained_on: Sequence[ReIDDataset | str]) -> bool:
    """Whether the model has not been trained on the domain of this test set.

    It has where the test set is one of the training sets, or shares training images with one: so do test sets of other
    sizes, with other distractors or with another choice of training images.

    Args:
        dataset: to test on.
        trained_on: the training sets; a bare spec stands for one whose files are not at hand.
    """
    if dataset.spec in specs_of(trained_on):
        return False
    own = _training_images(dataset)
    return not any(own & _training_images(other) for other in trained_on if not isinstance(other, str))


def specs_of(datasets: Sequence[ReIDDataset | str]) -> list[str]:
    """The names and options under which a config asks for the data sets."""
    return [dataset if isinstance(dataset, str) else dataset.spec for dataset in datasets]


@contextmanager
def in_domain(model: nn.Module, *, seen: bool) -> Iterator[None]:
    """Tells modules with an attribute `seen_domain` inside the block whether images are of the training domain."""
    modules: list[Any] = [module for module in model.modules() if hasattr(module, "seen_domain")]
    before = [module.seen_domain for module in modules]
    for module in modules:
        module.seen_domain = seen
    try:
        yield
    finally:
        for module, told in zip(modules, before, strict=True):
            module.seen_domain = told


def _training_images(dataset: ReIDDataset) -> set[Path]:
    return {Path(sample.path).absolute() for sample in dataset.train}
