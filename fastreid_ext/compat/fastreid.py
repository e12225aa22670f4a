"""Our parts inside the original FastReID 1.4.0, or a fork of it that imports.

Two lines in its `train_net.py`, the second before any file is merged, and its own YAML files and trainer have them:

    from fastreid_ext.compat import fastreid as ext
    ext.register(cfg, "adasp", "msinet")

With Python 3.10 or newer, `ext.make_importable()` has to stand above the first import of FastReID. FastReID is imported
by these functions only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreid_ext import projects as all_projects
from fastreid_ext.compat.importing import import_original, make_importable
from fastreid_ext.compat.inside_config import add_missing_keys
from fastreid_ext.compat.training import keep_gradients

if TYPE_CHECKING:
    from fastreid_ext.compat.inside_models import ExtBaseline

__all__ = ["ExtBaseline", "make_importable", "make_trainable", "register", "register_dataset"]


def register(cfg: Any, *projects: str) -> None:
    """Adds our keys to FastReID's config and our parts to its registries.

    The config gets each key that it lacks, those of the projects among them. Backbones, heads, meta-architectures and
    data sets keep their names where FastReID has nothing of that name, and else have "Ext" before it: `ExtBaseline`,
    whose losses are ours, `ExtEmbeddingHead`, whose classification layers are ours. May be called again. FastReID's
    trainer is made to train with today's PyTorch (`make_trainable`).

    Args:
        cfg: FastReID's config, not frozen.
        projects: names of projects, such as "adasp".

    Raises:
        ImportError: FastReID is not installed or does not import; the message says what to do.
        RegistryError: there is no such project.
        ConfigError: the config is frozen, or has a section where we have a value or the other way round.
    """
    import_original("fastreid.engine")
    from fastreid_ext.compat.inside_registries import register_parts

    for name in projects:
        all_projects.load(name)
    add_missing_keys(cfg, projects)
    register_parts()
    make_trainable()


def register_dataset(name: str, spec: str) -> None:
    """Adds a data set of ours with its options to FastReID's registry.

    Args:
        name: for FastReID's `DATASETS.NAMES` and `DATASETS.TESTS`.
        spec: as in our configs, such as "MarketLayout:/data/mine".

    Raises:
        ImportError: FastReID is not installed or does not import.
        ConfigError: FastReID has a data set of that name.
    """
    import_original("fastreid.engine")
    from fastreid_ext.compat import inside_registries

    inside_registries.register_dataset(name, spec)


def make_trainable() -> None:
    """Lets FastReID's trainer train with PyTorch 2.0 and later, where its steps else change no weight and say nothing.

    From then on its `SimpleTrainer` and `AMPTrainer` set gradients to zero instead of throwing them away. `register`
    does this, too; alone it is for those who need nothing else.

    Raises:
        ImportError: FastReID is not installed or does not import.
    """
    keep_gradients(import_original("fastreid.engine.train_loop").SimpleTrainer)


def __getattr__(name: str) -> Any:
    if name == "ExtBaseline":
        import_original("fastreid.engine")
        from fastreid_ext.compat.inside_models import ExtBaseline

        return ExtBaseline
    raise AttributeError(f"module {__name__} has no attribute {name}")
