"""Whether what a sweep is to train can be trained, as far as that is known at once."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid_ext.config import ConfigError
from fastreid_ext.config.checks import metrics_of
from fastreid_ext.data.build import build_test_sets, build_train_data
from fastreid_ext.engine.build import refuse_other_programs
from fastreid_ext.engine.sweep.plan import Setting
from fastreid_ext.modeling import build_model
from fastreid_ext.registry import close_matches

__all__ = ["check_settings", "choose_metrics"]


def check_settings(settings: Sequence[Setting]) -> None:
    """Reads all data, so that data that draw themselves are drawn once, and builds every model.

    Raises:
        ConfigError, RegistryError, DatasetError, ...: the first fault that is found.
    """
    data_seen, models_seen = set(), set()
    for setting in settings:
        cfg = setting.cfg
        refuse_other_programs(cfg)
        if not cfg.DATASETS.TESTS:
            raise ConfigError(f"{setting.name}: DATASETS.TESTS is empty, there is nothing to compare by")
        if repr(cfg.DATASETS) not in data_seen:
            data_seen.add(repr(cfg.DATASETS))
            build_train_data(cfg)
            build_test_sets(cfg)
        # A model may be refused for its batches.
        model = repr((cfg.MODEL, cfg.DATALOADER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATION_STEPS))
        if model not in models_seen:
            models_seen.add(model)
            model_cfg = cfg.clone()
            model_cfg.defrost()
            model_cfg.MODEL.DEVICE, model_cfg.MODEL.BACKBONE.PRETRAIN = "cpu", False
            model_cfg.MODEL.HEADS.NUM_CLASSES = cfg.MODEL.HEADS.NUM_CLASSES or 2
            build_model(model_cfg)


def choose_metrics(settings: Sequence[Setting], asked: str) -> list[str]:
    """The figures of the table.

    Args:
        settings: of the sweep.
        asked: names with commas between them; "" for the usual ones.

    Raises:
        ConfigError: a figure that none of the settings' evaluators gives.
    """
    known = [metrics_of(setting.cfg) for setting in settings]
    common = dict.fromkeys(name for names in known if names for name in names)
    if not asked.strip(" ,"):
        usual: list[str] = [name for name in ("mAP", "Rank-1", "Recall@1") if name in common]
        return usual[:2] or [*common, "mAP"][:1]
    metrics = list(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    if None in known:
        return metrics
    for metric in metrics:
        if metric not in common and not metric.startswith("TPR@"):
            hint = "".join(f" Did you mean {match}?" for match in close_matches(metric, common, 1))
            raise ConfigError(f"--metrics {metric}: no such figure.{hint} There are: {', '.join(common)}")
    return metrics
