"""The registry of samplers, and `build_sampler`."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid_ext.config import CfgNode
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers.base import BatchSampler
from fastreid_ext.data.samplers.staged import StagedSampler
from fastreid_ext.registry import Registry

__all__ = ["SAMPLERS", "build_sampler"]

SAMPLERS = Registry("sampler")
"""Classes called as `Sampler(pids, camids, batch_size=..., num_instances=..., seed=..., **Sampler.options(...))`: a
`BatchSampler`."""


def build_sampler(cfg: CfgNode, samples: Sequence[Sample], camera_sets: Sequence[int] = ()) -> BatchSampler:
    """The sampler `DATALOADER.SAMPLER_TRAIN` on training samples, behind that of `SOLVER.FIRST_STAGE` if there is one.

    Args:
        cfg: the config.
        samples: the training images.
        camera_sets: for each camera, the place of its data set in `DATASETS.NAMES`; empty: there is one set.

    Raises:
        RegistryError: there is none of that name.
        SamplerError: the samples cannot fill a batch.
    """
    sets = [camera_sets[sample.camid] if camera_sets else 0 for sample in samples]
    then = _build(cfg.DATALOADER.SAMPLER_TRAIN, cfg, samples, sets)
    stage = cfg.SOLVER.FIRST_STAGE
    if not stage.EPOCHS or stage.SAMPLER_TRAIN == cfg.DATALOADER.SAMPLER_TRAIN:
        return then
    return StagedSampler(_build(stage.SAMPLER_TRAIN, cfg, samples, sets), then, stage.EPOCHS)


def _build(name: str, cfg: CfgNode, samples: Sequence[Sample], sets: Sequence[int]) -> BatchSampler:
    kind = SAMPLERS.get(name)
    sampler: BatchSampler = kind(
        [sample.pid for sample in samples],
        [sample.camid for sample in samples],
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_instances=cfg.DATALOADER.NUM_INSTANCE,
        seed=cfg.SEED,
        **kind.options(cfg, sets),
    )
    return sampler
