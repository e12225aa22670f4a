"""The registry of samplers, and `build_sampler`."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid_ext.config import CfgNode
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers.base import BatchSampler
from fastreid_ext.registry import Registry

__all__ = ["SAMPLERS", "build_sampler"]

SAMPLERS = Registry("sampler")
"""Classes called as `Sampler(pids, camids, batch_size=..., num_instances=..., seed=...)`: a `BatchSampler`."""


def build_sampler(cfg: CfgNode, samples: Sequence[Sample]) -> BatchSampler:
    """The sampler `DATALOADER.SAMPLER_TRAIN` on training samples.

    Raises:
        RegistryError: there is none of that name.
        SamplerError: the samples cannot fill a batch.
    """
    sampler: BatchSampler = SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN)(
        [sample.pid for sample in samples],
        [sample.camid for sample in samples],
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_instances=cfg.DATALOADER.NUM_INSTANCE,
        seed=cfg.SEED,
    )
    return sampler
