"""Which images make a batch."""

from fastreid_ext.data.samplers.base import BatchSampler, SamplerError
from fastreid_ext.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid_ext.data.samplers.imbalanced import ImbalancedDatasetSampler
from fastreid_ext.data.samplers.registry import SAMPLERS, build_sampler
from fastreid_ext.data.samplers.reweight import SetReWeightSampler
from fastreid_ext.data.samplers.similar import SimilarIdentitySampler
from fastreid_ext.data.samplers.staged import StagedSampler
from fastreid_ext.data.samplers.stream import BatchPart, BatchStream
from fastreid_ext.data.samplers.training import TrainingSampler

__all__ = [
    "SAMPLERS",
    "BalancedIdentitySampler",
    "BatchPart",
    "BatchSampler",
    "BatchStream",
    "ImbalancedDatasetSampler",
    "NaiveIdentitySampler",
    "SamplerError",
    "SetReWeightSampler",
    "SimilarIdentitySampler",
    "StagedSampler",
    "TrainingSampler",
    "build_sampler",
]
