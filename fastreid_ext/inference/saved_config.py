"""Configs that lie in a checkpoint or an exported file, and what of them an embedding depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.evaluation.strategies import InferenceStrategies
from fastreid_ext.inference.card import ModelCard

__all__ = ["embedding_options", "portable_yaml", "saved_config", "saved_test_option"]

# What of MODEL only a training, or only the speed, depends on.
_PASSED_OVER = (
    "MODEL.DEVICE",
    "MODEL.CHANNELS_LAST",
    "MODEL.COMPILE",
    "MODEL.WEIGHTS",
    "MODEL.FREEZE_LAYERS",
    "MODEL.QUEUE_SIZE",
    "MODEL.LOSSES.",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.FEAT_DIM",
    "MODEL.HEADS.NUM_CLASSES",
)
# What is of the training's machine, or of no use to a model that embeds.
_OF_TRAINING = ("DATASETS", "DATALOADER", "OUTPUT_DIR", "SEED", "SOLVER", "KD")


def saved_config(text: str, *, source: str, options: Sequence[Any] = ()) -> CfgNode:
    """The frozen config that a file holds as YAML, its projects loaded.

    Args:
        text: the YAML.
        source: the file, for errors.
        options: `[KEY, value, KEY, value, ...]`, which win.

    Raises:
        ConfigError: it cannot be read, or has keys that are not known here.
        RegistryError: one of its projects is not here.
    """
    try:
        saved = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the config in {source} is not valid YAML: {error}") from error
    if not isinstance(saved, Mapping):
        raise ConfigError(f"the config in {source} holds no keys and values")
    cfg = get_cfg(saved.get("PROJECTS", []))
    cfg.merge_from_mapping(saved, f"the config in {source}")
    cfg.merge_from_list(options)
    cfg.freeze()
    return cfg


def portable_yaml(cfg: CfgNode) -> str:
    """What `saved_config` needs to build the model again, without the folders of its training."""
    values: dict[str, Any] = yaml.safe_load(cfg.dump())
    kept = {name: value for name, value in values.items() if name not in _OF_TRAINING}
    kept["MODEL"] |= {"WEIGHTS": "", "DEVICE": "auto"}
    kept["MODEL"]["BACKBONE"] |= {"PRETRAIN": False, "PRETRAIN_PATH": ""}
    text: str = yaml.safe_dump(kept)
    return text


def embedding_options(cfg: CfgNode) -> dict[str, Any]:
    """All that embeddings depend on beside the weights, by key; of `MODEL` what differs from the defaults."""
    defaults = dict(get_cfg(cfg.PROJECTS).leaves())
    model = {
        key: value
        for key, value in cfg.leaves()
        if key.startswith("MODEL.") and not key.startswith(_PASSED_OVER) and value != defaults.get(key)
    }
    crop = cfg.INPUT.CROP
    strategies = InferenceStrategies.from_config(cfg)
    return model | {
        "INPUT.SIZE_TEST": list(cfg.INPUT.SIZE_TEST),
        "INPUT.CROP": list(crop.SIZE) if crop.ENABLED else None,
        "TEST.FLIP.ENABLED": cfg.TEST.FLIP.ENABLED,
        "TEST.MIXED_POOL": strategies.mixed_pool,
        "TEST.LEAKY_RELU": strategies.leaky_relu,
    }


def saved_test_option(card: ModelCard, name: str) -> Any:
    """An option of `TEST` in the model's config, else of the defaults."""
    saved = yaml.safe_load(card.config) or {}
    return saved.get("TEST", {}).get(name, get_cfg().TEST[name])
