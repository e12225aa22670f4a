"""What the report on configs believes of FastReID, asked of FastReID."""

import inspect
import re
from pathlib import Path

import pytest
from fastreid.config import get_cfg as original_defaults
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.layers import any_softmax, pooling
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.mgn import MGN

from fastreid_ext.compat.config_report.facts import FAMILIES, LOSSES, NAMES, SWITCHES, TRAINING_SETS
from fastreid_ext.compat.config_report.old_config import fastreid_defaults, read_old_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def leaves(node: dict, prefix: str = "") -> dict:
    found = {}
    for key, value in node.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_defaults_are_its_own() -> None:
    ours, its = dict(fastreid_defaults().leaves()), leaves(original_defaults())
    assert {key: ours.get(key) for key in its} == {
        key: pytest.approx(value) if isinstance(value, (float, list)) else value for key, value in its.items()
    }


@pytest.mark.parametrize("file", sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yml")))
def test_configs_mean_the_same(file: str) -> None:
    original = original_defaults()
    original.merge_from_file(str(CONFIGS / file))
    ours, its = dict(read_old_config(CONFIGS / file).cfg.leaves()), leaves(original)
    different = {key for key, value in its.items() if ours[key] != value}
    assert different <= {"MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "INPUT.REA.VALUE"}


def test_names_are_those_of_its_registries() -> None:
    registered = {
        "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
        "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
        "MODEL.HEADS.NAME": REID_HEADS_REGISTRY,
    }
    for key, registry in registered.items():
        assert set(NAMES[key]) == set(registry._obj_map)
    assert set(NAMES["MODEL.HEADS.CLS_LAYER"]) == set(any_softmax.__all__)
    assert set(NAMES["MODEL.HEADS.POOL_LAYER"]) == set(pooling.__all__)
    assert set(TRAINING_SETS) <= set(DATASET_REGISTRY._obj_map)


@pytest.mark.parametrize("name", FAMILIES)
def test_switches_are_those_that_a_builder_reads(name: str) -> None:
    read = set(re.findall(r"cfg\.MODEL\.BACKBONE\.(\w+)", inspect.getsource(BACKBONE_REGISTRY.get(name))))
    assert read & set(SWITCHES) == FAMILIES[name].reads


@pytest.mark.parametrize(("architecture", "computed"), [(Baseline, LOSSES), (MGN, LOSSES[:2])])
def test_losses_are_those_that_it_computes(architecture: type, computed: tuple[str, ...]) -> None:
    named = re.findall(r"if ['\"](\w+)['\"] in loss_names", inspect.getsource(architecture))
    assert tuple(named) == computed
