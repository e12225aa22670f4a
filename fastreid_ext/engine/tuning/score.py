"""How well a setting ranks a validation set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.engine.tuning.features import SettingFeatures
from fastreid_ext.engine.tuning.search import Limits
from fastreid_ext.engine.tuning.setting import Setting
from fastreid_ext.evaluation.evaluator import evaluate_features

__all__ = ["SettingScore"]


class SettingScore:
    """The figures that an evaluation with a setting's `TEST` block gives.

    Args:
        cfg: the config; `TEST.BEST_METRIC` is the figure that counts.
        features: of the validation set.
    """

    def __init__(self, cfg: CfgNode, features: SettingFeatures) -> None:
        self.cfg, self.features = cfg, features
        self._device: torch.device = next(features.model.parameters()).device

    def __call__(self, setting: Setting) -> tuple[float, Mapping[str, Any]]:
        """The figure that counts, and all figures, in percent: of the re-ranking where the setting has one.

        Raises:
            ConfigError: there is no such figure.
            ValueError: the features cannot be evaluated.
        """
        features = self.features.of(setting)
        results = evaluate_features(self._config(setting), [features], device=self._device)[features.name]
        chosen = results["with"]["rerank"] if setting.rerank else results
        figures = {name: value for name, value in chosen.items() if isinstance(value, float)}
        metric = self.cfg.TEST.BEST_METRIC
        if metric not in figures:
            raise ConfigError(f"{setting.describe()} has no {metric}; choose one of {', '.join(figures)} (--metric)")
        return figures[metric], figures

    def limits(self) -> Limits:
        """What the validation set allows."""
        features = self.features.of(self.features.base)
        query, gallery = (len(images) for images in features.trials[0])
        images = gallery if features.protocol.query_is_gallery else query + gallery
        length = float(torch.linalg.vector_norm(features.values, dim=1).mean())
        return Limits(length, min(gallery, images - 1), self.cfg.TEST.METRIC == "euclidean")

    def _config(self, setting: Setting) -> CfgNode:
        """With nothing else that would take time."""
        cfg: CfgNode = self.cfg.clone()
        cfg.defrost()
        cfg.merge_from_mapping({"TEST": setting.options(cfg.TEST.METRIC)}, "the search")
        cfg.TEST.AQE.ENABLED = cfg.TEST.ROC.ENABLED = False
        cfg.TEST.NMI.ENABLED = cfg.TEST.BEST_METRIC == "NMI"
        cfg.freeze()
        return cfg
