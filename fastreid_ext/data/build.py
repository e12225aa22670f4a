"""From a config to data sets and loaders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.datasets import HeldOut, ReIDDataset, build_dataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.data.loader import TestLoader, TrainLoader
from fastreid_ext.data.protocol import JUNK_PID
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import BatchSampler, BatchStream, build_sampler
from fastreid_ext.data.transforms import build_test_pipeline, build_train_pipeline
from fastreid_ext.utils.dist import get_rank, get_world_size
from fastreid_ext.utils.threads import default_threads

# More threads than these wait for each other.
_AUGMENTING = 2

__all__ = ["TrainData", "build_test_loader", "build_test_sets", "build_train_data", "build_train_loader"]


@dataclass(frozen=True)
class TrainData:
    """The training images of all data sets together.

    Attributes:
        samples: with `pid` numbered from 0 over all sets, in the order of set and published identity.
        num_classes: identities.
        num_cameras: cameras.
        datasets: where they come from.
        labels: by the spec of a set, the pid here of each identity as the set numbers it.
        camera_sets: for each camera, the place in `datasets` of the set that it belongs to.
    """

    samples: list[Sample]
    num_classes: int
    num_cameras: int
    datasets: list[ReIDDataset]
    labels: dict[str, dict[int, int]] = field(default_factory=dict)
    camera_sets: tuple[int, ...] = ()


def build_train_data(cfg: CfgNode) -> TrainData:
    """Joins the sets of `DATASETS.NAMES`; the same number in two sets means two identities.

    Raises:
        ConfigError: a set has no training images, or identities that are held out would be trained on.
    """
    datasets = [build_dataset(spec, cfg.DATASETS.ROOT) for spec in cfg.DATASETS.NAMES]
    if cfg.DATASETS.COMBINEALL and any(isinstance(dataset, HeldOut) for dataset in datasets):
        raise ConfigError("DATASETS.COMBINEALL would train on the identities that HeldOut leaves out: turn it off")
    keyed = [
        (number, sample)
        for number, dataset in enumerate(datasets)
        for sample in _training_samples(dataset, combine_all=cfg.DATASETS.COMBINEALL)
    ]
    without = [spec for number, spec in enumerate(cfg.DATASETS.NAMES) if number not in {place for place, _ in keyed}]
    if without:
        raise ConfigError(f"no training images in {', '.join(without)}: leave it out of DATASETS.NAMES")
    pids = {key: label for label, key in enumerate(sorted({(number, sample.pid) for number, sample in keyed}))}
    cameras = {key: label for label, key in enumerate(sorted({(number, sample.camid) for number, sample in keyed}))}
    samples = [Sample(sample.path, pids[number, sample.pid], cameras[number, sample.camid]) for number, sample in keyed]
    labels: dict[str, dict[int, int]] = {}
    for (number, pid), label in pids.items():
        labels.setdefault(datasets[number].spec, {})[pid] = label
    return TrainData(samples, len(pids), len(cameras), datasets, labels, tuple(number for number, _ in cameras))


def build_test_sets(cfg: CfgNode) -> list[ReIDDataset]:
    """The sets of `DATASETS.TESTS`.

    Raises:
        ConfigError: a set is for training only.
    """
    datasets = [build_dataset(spec, cfg.DATASETS.ROOT) for spec in cfg.DATASETS.TESTS]
    without = [dataset.spec for dataset in datasets if not (dataset.query or dataset.gallery)]
    if without:
        raise ConfigError(
            f"no query and no gallery images in {', '.join(without)}, for training only: leave it out of DATASETS.TESTS"
        )
    return datasets


def build_train_loader(
    cfg: CfgNode,
    data: TrainData,
    *,
    device: torch.device | str,
    stores: ImageStores | None = None,
    start_iteration: int = 0,
) -> tuple[TrainLoader, BatchSampler]:
    """The loader of this process, whose first batch is that of `start_iteration`, and the sampler behind it.

    Args:
        cfg: the config.
        data: the training images.
        device: where batches go.
        stores: where decoded images are kept; they outlive the loader.
        start_iteration: the first step.
    """
    sampler = build_sampler(cfg, data.samples, data.camera_sets)
    stream = BatchStream(
        sampler,
        rank=get_rank(),
        world_size=get_world_size(),
        accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        start_iteration=start_iteration,
    )
    # Before the images, whose decoding a typo should not wait for.
    pipeline = build_train_pipeline(cfg)
    stores = stores or ImageStores.from_config(cfg, device)
    paths = [sample.path for sample in data.samples]
    names = "+".join(type(dataset).__name__ for dataset in data.datasets)
    store = stores.get(paths, tuple(cfg.INPUT.SIZE_TRAIN), label=f"{names}-train")
    threads = min(stores.threads, default_threads(), _AUGMENTING)
    return TrainLoader(data.samples, store, pipeline, stream, threads=threads), sampler


def build_test_loader(
    cfg: CfgNode,
    samples: Sequence[Sample],
    *,
    device: torch.device | str,
    stores: ImageStores | None = None,
    label: str = "test",
) -> TestLoader:
    """The loader of this process's share of the samples: a contiguous part, so that ranks concatenate to the whole.

    Args:
        cfg: the config.
        samples: of all processes.
        device: where batches go.
        stores: where decoded images are kept; they outlive the loader.
        label: what the log calls the images.
    """
    share = math.ceil(len(samples) / get_world_size())
    part = slice(get_rank() * share, (get_rank() + 1) * share)
    stores = stores or ImageStores.from_config(cfg, device)
    store = stores.get([s.path for s in samples], tuple(cfg.INPUT.SIZE_TEST), label=label, part=part)
    return TestLoader(samples[part], store, build_test_pipeline(cfg), batch_size=cfg.TEST.IMS_PER_BATCH)


def _training_samples(dataset: ReIDDataset, *, combine_all: bool) -> list[Sample]:
    """Without junk and distractors, which have no identity to learn."""
    samples = list(dataset.train)
    if combine_all:
        tests = dict.fromkeys((*dataset.query, *dataset.gallery))
        samples += [sample for sample in tests if sample.pid not in dataset.distractor_pids]
    return [sample for sample in samples if sample.pid != JUNK_PID]
