"""How many test images are put into their own class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, ConfigError, configurable, get_cfg
from fastreid_ext.data.build import build_train_data
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.datasets.registry import datasets_root
from fastreid_ext.data.protocol import JUNK_PID
from fastreid_ext.evaluation.evaluators import EVALUATORS, FeatureEvaluator
from fastreid_ext.evaluation.feature_set import FeatureSet, test_samples
from fastreid_ext.modeling.heads import HEADS

__all__ = ["ClasEvaluator"]

_NAMED = 5

Labels = Mapping[str, Mapping[int, int]]


@EVALUATORS.register(source="FastReID: He et al. 2020, arXiv:2006.02631")
class ClasEvaluator(FeatureEvaluator):
    """Accuracy of a classifier: the share of images whose largest logit is that of their own class.

    Query and gallery images count alike, each once; a set needs no gallery. Junk does not count. From a config, classes
    are the identities of `DATASETS.NAMES`, and a test set must be one of these: its identities have the same numbers in
    training and test lists.

    Args:
        labels: by the spec of a data set, the class of each of its identities.

    Raises:
        ConfigError: `MODEL.HEADS.NAME` gives embeddings.
    """

    @configurable
    def __init__(self, *, labels: Labels) -> None:
        self.labels = labels
        self.num_classes = 1 + max((max(classes.values()) for classes in labels.values()), default=-1)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        if not getattr(HEADS.get(cfg.MODEL.HEADS.NAME), "gives_logits", False):
            raise ConfigError(
                f"ClasEvaluator takes the logits of classes, but MODEL.HEADS.NAME {cfg.MODEL.HEADS.NAME} gives "
                f"embeddings: take ClasHead, or say of a head of yours gives_logits = True"
            )
        return {"labels": _training_labels(cfg)}

    def __call__(self, features: FeatureSet) -> dict[str, Any]:
        """`Acc@1` in percent, and how many images and classes there are.

        Raises:
            ValueError: features are no logits of the classes, or not finite; images are of other classes, or there are
                none.
        """
        features.check_values()
        counted = features.pids != JUNK_PID
        logits, pids = features.values[counted], features.pids[counted]
        if not len(pids):
            raise ValueError(f"{features.name} has no readable test images: nothing to evaluate")
        if logits.shape[1] != self.num_classes:
            raise ValueError(
                f"{features.name}: the model gives {logits.shape[1]} values of an image, but DATASETS.NAMES has "
                f"{self.num_classes} classes: set DATASETS.NAMES as in the training, and MODEL.HEADS.NAME ClasHead"
            )
        correct = logits.argmax(1) == self._classes(features.name, pids)
        accuracy = 100 * float(correct.double().mean())
        return {"Acc@1": accuracy, "images": len(pids), "classes": self.num_classes}

    def check_sizes(self, dataset: ReIDDataset) -> None:
        """Refuses a data set of other classes.

        Raises:
            ValueError: says which.
        """
        self._labels_of(dataset.spec, {sample.pid for sample in test_samples(dataset)} - {JUNK_PID})

    def _classes(self, name: str, pids: Tensor) -> Tensor:
        numbers, places = torch.unique(pids, return_inverse=True)
        return torch.tensor(self._labels_of(name, numbers.tolist()), device=pids.device)[places]

    def _labels_of(self, name: str, pids: Iterable[int]) -> list[int]:
        if name not in self.labels:
            raise ValueError(
                f"{name}: the classes of its images are not known, since it is none of the training sets "
                f"{', '.join(self.labels)} (DATASETS.NAMES): test on one of these, written exactly as there"
            )
        known = self.labels[name]
        unknown = sorted(pid for pid in pids if pid not in known)
        if unknown:
            named = ", ".join(map(str, unknown[:_NAMED])) + ", ..." * (len(unknown) > _NAMED)
            raise ValueError(
                f"{name}: {len(unknown)} identities of its test images are no classes, since no training image shows "
                f"them: {named}. ClasEvaluator is for sets whose test images show the identities of the training, "
                f"such as an ImageList of your own"
            )
        return [known[pid] for pid in pids]


def _training_labels(cfg: CfgNode) -> Labels:
    datasets = cfg.DATASETS
    return _read_labels(tuple(datasets.NAMES), str(datasets_root(datasets.ROOT).absolute()), datasets.COMBINEALL)


@lru_cache(maxsize=1)
def _read_labels(names: tuple[str, ...], root: str, combine_all: bool) -> Labels:
    """Kept for the next evaluation: the lists of a large data set take a while to read."""
    cfg = get_cfg()
    cfg.DATASETS.NAMES, cfg.DATASETS.ROOT, cfg.DATASETS.COMBINEALL = names, root, combine_all
    return build_train_data(cfg).labels
