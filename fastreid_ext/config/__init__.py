"""Configuration: yacs nodes with FastReID's keys, strict merging, and `@configurable`."""

from fastreid_ext.config.changes import nested_changes
from fastreid_ext.config.configurable import configurable
from fastreid_ext.config.loader import get_cfg, load_config
from fastreid_ext.config.node import AUTO, CfgNode, ConfigError

__all__ = ["AUTO", "CfgNode", "ConfigError", "configurable", "get_cfg", "load_config", "nested_changes"]
