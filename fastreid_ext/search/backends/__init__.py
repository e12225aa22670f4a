"""Where candidates are evaluated: in the process of the search, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from fastreid_ext.registry import Registry
from fastreid_ext.search.backends.base import Backend
from fastreid_ext.search.backends.in_process import InProcessBackend
from fastreid_ext.search.backends.processes import ProcessBackend
from fastreid_ext.search.backends.ray_cluster import RayBackend
from fastreid_ext.search.protocols import EvaluatorFactory

__all__ = ["BACKENDS", "Backend", "InProcessBackend", "ProcessBackend", "RayBackend", "build_backend"]

BACKENDS = Registry("search backend")
BACKENDS.register("in-process")(InProcessBackend)
BACKENDS.register("processes")(ProcessBackend)
BACKENDS.register("ray")(RayBackend)


def build_backend(
    name: str,
    factory: EvaluatorFactory,
    *,
    workers: int = 1,
    cpus_per_trial: int = 0,
    gpus_per_trial: float = 0,
    time_limit: float = 0,
    address: str = "",
) -> InProcessBackend | ProcessBackend | RayBackend:
    """A backend by name: `in-process`, `processes` or `ray`. What one has no use for, it is not given.

    Args:
        name: of the backend.
        factory: makes an evaluator in each worker.
        workers: evaluations at a time; always one in process.
        cpus_per_trial: CPUs of each.
        gpus_per_trial: GPUs of each, where they are not shared by all; not in process.
        time_limit: seconds of an evaluation, 0 for any; not in process.
        address: of a Ray cluster.

    Raises:
        RegistryError: there is no backend of that name.
        SearchError: it cannot be had; see the class.
    """
    if name == "in-process":
        return InProcessBackend(factory, cpus_per_trial=cpus_per_trial)
    backend = BACKENDS.get(name)
    where = {"address": address} if name == "ray" else {}
    made: ProcessBackend | RayBackend = backend(
        factory,
        workers=workers,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        time_limit=time_limit,
        **where,
    )
    return made
