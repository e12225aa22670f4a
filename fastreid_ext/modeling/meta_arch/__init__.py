"""Meta-architectures: whole models, from a batch to losses or embeddings."""

from fastreid_ext.modeling.meta_arch.base import ReIDModel
from fastreid_ext.modeling.meta_arch.baseline import Baseline
from fastreid_ext.modeling.meta_arch.distiller import Distiller
from fastreid_ext.modeling.meta_arch.mgn import MGN
from fastreid_ext.modeling.meta_arch.moco import MoCo
from fastreid_ext.modeling.meta_arch.registry import META_ARCHS, build_model, choose_device
from fastreid_ext.modeling.meta_arch.teacher import Teacher

__all__ = ["META_ARCHS", "MGN", "Baseline", "Distiller", "MoCo", "ReIDModel", "Teacher", "build_model", "choose_device"]
