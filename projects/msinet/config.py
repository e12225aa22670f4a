"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.MSINET`."""
    cfg.MODEL.MSINET = CfgNode(
        {
            # Twelve letters, two interactions a cell (N, E, G, A), or a preset: MSINet, MSINet-VR, MSINet-S.
            "GENOTYPE": "MSINet",
            # Light convolutions of the two branches, the scale ratio of the paper's Fig. 5d.
            "DEPTHS": [1, 3],
            # How the branches become one map: sum, minus or mul (Fig. 5c).
            "FUSION": "sum",
            # Embedding "before" the neck, for test images of the training domain, or "after" it, for others.
            "TEST_FEAT": "before",
        }
    )
