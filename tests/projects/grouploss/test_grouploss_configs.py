"""Every config of the project has the paper's values; rows of a table differ in what the table says only."""

import re
import shlex
from itertools import chain
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.data.transforms import build_test_pipeline
from fastreid_ext.data.transforms.registry import TRANSFORMS
from fastreid_ext.engine.sweep.plan import parse_options, plan_settings
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.losses import build_criterion

CONFIGS = Path(__file__).resolve().parents[3] / "projects" / "grouploss" / "configs"
# Data set; classes, images of each, anchors, temperature (authors' code); steps (Fig. 3), weight decay (appendix); K of
# Recall@K, whether there is an NMI.
RETRIEVAL: dict[str, tuple[str, int, int, int, float, int, float, list[int], bool]] = {
    "cub": ("CUB200", 6, 9, 2, 24, 1, 1e-6, [1, 2, 4, 8], True),
    "cars": ("Cars196", 5, 7, 3, 79, 4, 1e-7, [1, 2, 4, 8], True),
    "sop": ("SOP", 10, 6, 2, 54, 4, 1e-12, [1, 10, 100], True),
    "inshop": ("InShop", 8, 5, 1, 40, 4, 5e-14, [1, 10, 20, 40], False),
}
REID = {"market": "Market1501", "cuhk03_detected": "CUHK03:labeled=False"}
# Table 7: beta, slope, alpha, lambda, k1, k2.
TABLE_7: dict[str, tuple[float, float, float, float, int, int]] = {
    "cub": (0.004, 0.75, 0.5, 0.85, 50, 20),
    "cars": (0.004, 0.4, 0.6, 0.9, 50, 20),
    "inshop": (0.002, 1.0, 0.9, 0.7, 4, 2),
    "sop": (0.0005, 1.0, 0.6, 0.94, 50, 20),
}
# Tables 1, 2, 5 and 6, in the order of the README's columns: Group Loss and Group Loss++.
PRINTED: dict[str, tuple[list[float], list[float]]] = {
    "cub": ([65.5, 77.0, 85.0, 91.3, 69.0], [72.6, 80.5, 86.2, 91.2, 71.9]),
    "cars": ([85.6, 91.2, 94.9, 97.0, 72.7], [90.4, 93.8, 96.0, 97.5, 73.9]),
    "sop": ([75.1, 87.5, 94.2, 90.8], [79.2, 90.1, 95.8, 92.0]),
    "inshop": ([86.8, 96.4, 97.5, 98.4], [90.9, 97.6, 98.4, 98.9]),
    "cuhk03_detected": ([58.4, 62.0], [83.7, 82.5]),
    "market": ([78.3, 93.7], [92.1, 95.2]),
}
CLASSES = {"cub": 100, "cars": 98, "sop": 11_318}
# Table 8: width of the embeddings; parameters, Recall@1 and NMI of each data set.
TABLE_8: dict[str, tuple[int, dict[str, tuple[int, float, float]]]] = {
    "121": (1024, {"cub": (7056356, 65.5, 69.4), "cars": (7054306, 88.1, 74.2), "sop": (18554806, 78.2, 91.5)}),
    "161": (2208, {"cub": (26692900, 64.7, 68.7), "cars": (26688482, 88.7, 74.6), "sop": (51473462, 80.3, 92.3)}),
    "169": (1664, {"cub": (12650980, 65.4, 69.5), "cars": (12647650, 88.4, 75.2), "sop": (31328950, 79.4, 92.0)}),
    "201": (1920, {"cub": (18285028, 63.7, 68.4), "cars": (18281186, 88.6, 75.8), "sop": (39834806, 79.8, 92.1)}),
}
SMALL = ("quickstart", "refinement", "refinement_start")


def load(name: str, *options: Any) -> CfgNode:
    return load_config(CONFIGS / f"{name}.yml", ["MODEL.DEVICE", "cpu", *options])


def load_full(name: str) -> CfgNode:
    """A config with the paper's training."""
    cfg = load(name)
    assert f"logs/grouploss/{name}" == cfg.OUTPUT_DIR and cfg.PROJECTS == ["grouploss"]
    solver, losses = cfg.SOLVER, cfg.MODEL.LOSSES
    assert (solver.OPT, solver.BASE_LR, solver.WARMUP_ITERS, solver.AMP.ENABLED) == ("RAdam", 0.0002, 0, False)
    assert (solver.SCHED, solver.GAMMA) == ("MultiStepLR", 0.1)
    assert solver.WEIGHT_DECAY == solver.WEIGHT_DECAY_NORM == solver.WEIGHT_DECAY_BIAS
    assert losses.NAME == ("CrossEntropyLoss", "GroupLoss") and losses.CE.SCALE == 1
    assert losses.GROUP.SIMILARITY == "clamp" and 0 < losses.GROUP.ANCHORS < cfg.DATALOADER.NUM_INSTANCE
    assert cfg.INPUT.FLIP.ENABLED and cfg.MODEL.BACKBONE.PRETRAIN and cfg.MODEL.BACKBONE.LAST_STRIDE == 2
    assert cfg.MODEL.HEADS.POOL_LAYER == "GlobalAvgPool" and cfg.MODEL.HEADS.EMBEDDING_DIM == 0
    return cfg


def figures(name: str) -> list[float]:
    """The numbers of the head's line on the paper."""
    text = (CONFIGS / f"{name}.yml").read_text(encoding="utf-8").split("_BASE_")[0]
    (line,) = re.findall(r"\n# Paper: (.*)\.\n", text)
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def test_no_config_is_left_out() -> None:
    found = {str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("[a-z]*.yml")}
    both = {f"{name}{suffix}" for name in (*RETRIEVAL, *REID) for suffix in ("", "_pp")}
    table_8 = {f"table8/{name}_densenet{depth}" for name in CLASSES for depth in TABLE_8}
    assert found == {*SMALL, *both, *table_8}


@pytest.mark.parametrize("name", RETRIEVAL)
def test_retrieval_sets(name: str) -> None:
    cfg = load_full(name)
    data_set, classes, instances, anchors, temperature, steps, decay, recalls, nmi = RETRIEVAL[name]
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == (data_set,)
    assert (classes * instances, instances) == (cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE)
    assert 30 <= cfg.SOLVER.IMS_PER_BATCH <= 100
    group = cfg.MODEL.LOSSES.GROUP
    assert (anchors, temperature, steps, False) == (group.ANCHORS, group.TEMPERATURE, group.STEPS, group.SPARSE)
    assert pytest.approx(1 - anchors / instances, abs=1e-6) == group.SCALE
    assert decay == cfg.SOLVER.WEIGHT_DECAY
    assert (recalls, nmi) == (cfg.TEST.RECALLS, cfg.TEST.NMI.ENABLED)
    assert (cfg.TEST.EVALUATOR, cfg.TEST.BEST_METRIC, cfg.TEST.METRIC) == ("RetrievalEvaluator", "Recall@1", "cosine")
    assert cfg.MODEL.BACKBONE.NAME == "build_bn_inception_backbone" and not cfg.MODEL.HEADS.WITH_BNNECK
    assert (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD) == ([128, 117, 104], [1, 1, 1])


@pytest.mark.parametrize("name", RETRIEVAL)
def test_ten_epochs_of_classification_then_sixty_of_group_loss(name: str) -> None:
    solver = load_full(name).SOLVER
    stage = solver.FIRST_STAGE
    assert (stage.EPOCHS, stage.LOSSES, stage.SAMPLER_TRAIN) == (10, ["CrossEntropyLoss"], "TrainingSampler")
    # No rate of its own: the paper's is that of all networks.
    assert stage.BASE_LR == 0
    assert solver.MAX_EPOCH - stage.EPOCHS == 60 and [step - stage.EPOCHS for step in solver.STEPS] == [30]


@pytest.mark.parametrize("name", REID)
def test_reidentification_sets(name: str) -> None:
    cfg = load_full(name)
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == (REID[name],)
    backbone, heads = cfg.MODEL.BACKBONE, cfg.MODEL.HEADS
    assert (backbone.NAME, backbone.DEPTH) == ("build_densenet_backbone", "161")
    assert heads.WITH_BNNECK and heads.NECK_FEAT == "after" and cfg.MODEL.LOSSES.CE.EPSILON == 0.1
    inputs = cfg.INPUT
    assert inputs.SIZE_TRAIN == inputs.SIZE_TEST == [256, 128] and not inputs.CROP.ENABLED
    assert inputs.PADDING.ENABLED and inputs.PADDING.SIZE == 10 and inputs.REA.ENABLED
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.STEPS, cfg.SOLVER.FIRST_STAGE.EPOCHS) == (100, [30, 60], 0)
    assert cfg.DATALOADER.SAMPLER_TRAIN == "SimilarIdentitySampler"
    assert (cfg.TEST.EVALUATOR, cfg.TEST.BEST_METRIC) == ("ReidEvaluator", "mAP")


@pytest.mark.parametrize("name", [*RETRIEVAL, *REID])
def test_strategies_are_all_that_sets_the_two_methods_apart(name: str) -> None:
    expected, cfg = load_full(name).clone(), load_full(f"{name}_pp")
    beta, slope, alpha, weight, k1, k2 = TABLE_7.get(name, (nan, nan, nan, 0.3, 20, 6))
    switches: dict[str, dict[str, Any]] = {
        "FLIP": {},
        "RERANK": {"K1": k1, "K2": k2, "LAMBDA": weight, "VARIANT": "released"},
    }
    if name in TABLE_7:
        switches |= {"BETA_NORM": {"BETA": beta}, "LEAKY_RELU": {"SLOPE": slope}, "MIXED_POOL": {"ALPHA": alpha}}
    changes = {
        f"TEST.{node}.{key}": value
        for node, values in switches.items()
        for key, value in {"ENABLED": True, **values}.items()
    }
    metric = {"TEST.METRIC": "euclidean"} if name in TABLE_7 else {}
    expected.defrost()
    expected.merge_from_list(list(chain.from_iterable({**changes, **metric, "OUTPUT_DIR": cfg.OUTPUT_DIR}.items())))
    assert cfg == expected


@pytest.mark.parametrize("depth", TABLE_8)
@pytest.mark.parametrize("name", CLASSES)
def test_other_backbones_have_all_other_values_of_bn_inception(name: str, depth: str) -> None:
    cfg, base = load_full(f"table8/{name}_densenet{depth}"), dict(load_full(name).leaves())
    changed = {key for key, value in cfg.leaves() if value != base[key]}
    assert changed <= {
        "OUTPUT_DIR",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        *(f"MODEL.BACKBONE.{key}" for key in ("NAME", "DEPTH", "FEAT_DIM")),
    }
    assert ("build_densenet_backbone", depth) == (cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH)
    assert cfg.MODEL.PIXEL_MEAN == [123.675, 116.28, 103.53] and cfg.MODEL.PIXEL_STD == [58.395, 57.12, 57.375]


@pytest.mark.parametrize("depth", TABLE_8)
def test_networks_are_as_large_as_the_papers(depth: str) -> None:
    width, printed = TABLE_8[depth]
    options = ["MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 100, "MODEL.DEVICE", "meta"]
    with torch.device("meta"):
        model = build_model(load(f"table8/cub_densenet{depth}", *options))
    backbone = sum(parameter.numel() for parameter in model.get_submodule("backbone").parameters())
    # The paper's classifier has a bias.
    for name, (parameters, *_) in printed.items():
        assert backbone + (width + 1) * CLASSES[name] == parameters
    assert sum(parameter.numel() for parameter in model.parameters()) == backbone + width * 100


@pytest.mark.parametrize("name", PRINTED)
def test_heads_have_the_papers_figures(name: str) -> None:
    assert (figures(name), figures(f"{name}_pp")) == PRINTED[name]


@pytest.mark.parametrize("depth", TABLE_8)
def test_heads_of_table_8_have_the_papers_figures(depth: str) -> None:
    for name, (_, *printed) in TABLE_8[depth][1].items():
        assert figures(f"table8/{name}_densenet{depth}") == printed


def test_crop_is_227_pixels_of_256_without_resizing() -> None:
    cfg = load("cub")
    crop = TRANSFORMS.get("RandomResizedCrop")(cfg)
    boxes = crop.draw(np.random.default_rng(0), 2000, (256, 256))["box"]
    assert (boxes[:, 2:] == 227).all()
    # Every window, those at the borders included, may come out.
    assert set(boxes[:, 0]) == set(boxes[:, 1]) == set(range(256 - 227 + 1))
    images = torch.randint(256, (3, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    drawn = crop.draw(np.random.default_rng(1), 3, (256, 256))
    for image, cropped, (top, left, *_) in zip(images, crop.apply(images, drawn), drawn["box"], strict=True):
        assert torch.equal(cropped, image[:, top : top + 227, left : left + 227])


def test_the_middle_is_tested() -> None:
    cfg = load("cub")
    pipeline = build_test_pipeline(cfg)
    assert pipeline.centre_crop == (227, 227) and cfg.INPUT.SIZE_TEST == [256, 256]


@pytest.mark.parametrize("name", [*RETRIEVAL, *REID, "quickstart", "refinement"])
def test_all_images_of_an_identity_cannot_be_anchors(name: str) -> None:
    instances = load(name).DATALOADER.NUM_INSTANCE
    classes = ["MODEL.HEADS.NUM_CLASSES", 4]
    build_criterion(load(name, *classes, "MODEL.LOSSES.GROUP.ANCHORS", instances - 1))
    with pytest.raises(ConfigError, match=r"GROUP\.ANCHORS"):
        build_criterion(load(name, *classes, "MODEL.LOSSES.GROUP.ANCHORS", instances))


@pytest.mark.parametrize("name", SMALL)
def test_small_trainings_need_no_other_weights(name: str) -> None:
    cfg = load(name)
    assert f"logs/grouploss/{name}" == cfg.OUTPUT_DIR
    assert (cfg.MODEL.BACKBONE.DEPTH, cfg.MODEL.BACKBONE.PRETRAIN, cfg.SOLVER.OPT) == ("18x", False, "AdamW")
    assert cfg.DATASETS.NAMES == ("SynthReID",) and cfg.SOLVER.IMS_PER_BATCH in (60, 64)
    assert (name == "quickstart") == cfg.INPUT.FLIP.ENABLED == (cfg.SOLVER.FIRST_STAGE.EPOCHS == 2)
    start = "logs/grouploss/refinement_start/model_final.pth" if name == "refinement" else ""
    assert start == cfg.MODEL.WEIGHTS


def test_sweeps_over_refinement_steps_can_be_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parents[2])
    text = (CONFIGS / "refinement.yml").read_text(encoding="utf-8").replace("\\\n#", "")
    sizes = []
    for command in re.findall(r"# +(python tools/sweep\.py .*)", text):
        words = shlex.split(command)
        assert words[2:4] == ["--config-files", "grouploss/refinement"]
        axes, fixed = parse_options(words[words.index("OUTPUT_DIR") :])
        settings = plan_settings([words[3]], axes, fixed)
        sizes.append(len(settings))
        assert {setting.cfg.DATASETS.TESTS for setting in settings} == {("MarketLayout:<folder>",)}
    assert sizes == [6, 2]


def cells(table: str) -> list[list[float]]:
    """The numbers of a table of the README by its first heading, a list a row."""
    text = (CONFIGS.parent / "README.md").read_text(encoding="utf-8")
    lines = text[text.index(f"| {table}") :].split("\n\n")[0].splitlines()[2:]
    return [[float(number) for number in re.findall(r"\d+\.\d+|\d+", line.split("|", 2)[2])] for line in lines]


def test_tables_of_the_readme_have_the_papers_figures() -> None:
    both = {name: [*PRINTED[name]] for name in PRINTED}
    assert cells("Table 1 (paper) | R@1 | R@2") == [*both["cub"], *both["cars"]]
    assert cells("Table 1 (paper) | R@1 | R@10") == both["sop"] and cells("Table 2 (paper)") == both["inshop"]
    market = zip(both["cuhk03_detected"], both["market"], strict=True)
    assert cells("Tables 5 and 6 (paper)") == [[*detected, *others] for detected, others in market]
    assert cells("Table 7 (paper)") == [list(TABLE_7[name]) for name in ("cub", "cars", "inshop", "sop")]
    densenets = [[value for _, *row in sets.values() for value in row] for _, sets in TABLE_8.values()]
    assert cells("Table 8 (paper)")[:-1] == densenets
