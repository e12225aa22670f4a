"""Architecture searches: what they are, the registry of them, and `build_architecture_search`."""

from __future__ import annotations

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.engine.trainer import DefaultTrainer
from fastreid_ext.registry import Registry

__all__ = ["ARCHITECTURE_SEARCHES", "ArchitectureSearch", "build_architecture_search"]

ARCHITECTURE_SEARCHES = Registry("architecture search")
"""Classes called as `Search(cfg, show_progress=...)`: an `ArchitectureSearch`."""


class ArchitectureSearch(DefaultTrainer):
    """A training that ends with an architecture."""

    def report(self) -> str:
        """What was found, and where it is."""
        raise NotImplementedError(f"{type(self).__name__} does not report what it found")


def build_architecture_search(cfg: CfgNode, *, show_progress: bool = False) -> ArchitectureSearch:
    """The search that `SEARCH.ARCH.NAME` names.

    Raises:
        ConfigError: the config names none.
        RegistryError: there is none of that name.
    """
    if "ARCH" not in cfg.SEARCH:
        raise ConfigError(
            "there is no SEARCH.ARCH: give a --config-file that names a project with an architecture search, such as "
            "projects/msinet/configs/search_msmt.yml"
        )
    search: ArchitectureSearch = ARCHITECTURE_SEARCHES.get(cfg.SEARCH.ARCH.NAME)(cfg, show_progress=show_progress)
    return search
