"""Every YAML of the repository loads, and its model is built and trains on a batch."""

from pathlib import Path

import pytest
import torch

from fastreid_ext.config import AUTO, load_config
from fastreid_ext.config.loader import config_files
from fastreid_ext.data.datasets import DATASETS
from fastreid_ext.data.samplers import SAMPLERS
from fastreid_ext.data.transforms import build_test_pipeline, build_train_pipeline
from fastreid_ext.modeling import build_model
from fastreid_ext.solver import automatic_rate, build_gradient_clipper, build_lr_scheduler, build_optimizer

ROOT = Path(__file__).resolve().parents[2]
FILES = {**config_files()}
# Models and solvers that have trained on a batch: configs that differ in their data only need not do so again.
TRAINED: set[str] = set()


def test_all_files_of_the_repository_are_known() -> None:
    found = {path.resolve() for folder in ("configs", "projects") for path in (ROOT / folder).rglob("*.yml")}
    assert found == {path.resolve() for path in FILES.values()}
    assert {"msinet/msmt", "msinet/quickstart", "Base-bagtricks"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_config_builds_what_it_names(name: str) -> None:
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 3]
    cfg = load_config(FILES[name], options)
    if cfg.SOLVER.BASE_LR == AUTO:
        cfg = load_config(FILES[name], [*options, "SOLVER.BASE_LR", automatic_rate(cfg, 10_000)])
    assert all(spec.partition(":")[0] in DATASETS for spec in (*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS))
    assert cfg.DATALOADER.SAMPLER_TRAIN in SAMPLERS
    build_train_pipeline(cfg), build_test_pipeline(cfg), build_gradient_clipper(cfg)
    what = cfg.MODEL.dump() + cfg.SOLVER.dump()
    if what in TRAINED:
        return
    TRAINED.add(what)
    # MoReID and MoCo find the widths of features out with images of that size.
    model = build_model(load_config(FILES[name], [*options, "INPUT.SIZE_TRAIN", [64, 32]]))
    optimizer = build_optimizer(cfg, model)
    build_lr_scheduler(cfg, optimizer, 10)
    losses = model({"images": torch.rand(4, 3, 64, 32), "targets": torch.tensor([0, 0, 1, 1])})
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("name", [name for name in FILES if not Path(name).name.startswith("Base")])
def test_config_begins_with_its_command(name: str) -> None:
    head = FILES[name].read_text(encoding="utf-8").split("_BASE_")[0]
    assert f"--config-file {FILES[name].resolve().relative_to(ROOT).as_posix()}" in head


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("msinet/") and "_to_" in name])
def test_transfers_are_tested_on_another_data_set(name: str) -> None:
    cfg = load_config(name)
    assert len(cfg.DATASETS.TESTS) == 1 and cfg.DATASETS.TESTS[0].removeprefix("Small") not in cfg.DATASETS.NAMES
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.STEPS) == (250, [150, 225])
    jitter = cfg.INPUT.CJ
    assert jitter.ENABLED and (jitter.PROB, jitter.BRIGHTNESS, jitter.CONTRAST) == (1.0, 0.4, 0.4)
    assert (jitter.SATURATION, jitter.HUE) == (0.3, 0.0) and not cfg.INPUT.REA.ENABLED


TABLES = [
    name
    for name in FILES
    if name.startswith("msinet/") and not any(other in name for other in ("Base", "quickstart", "search"))
]


@pytest.mark.parametrize("name", TABLES)
def test_msinet_configs_have_the_papers_figures_and_a_folder_of_their_own(name: str) -> None:
    assert "\n# Paper" in FILES[name].read_text(encoding="utf-8").split("_BASE_")[0]
    folder = load_config(name).OUTPUT_DIR
    assert folder == f"logs/{name}"


GMS = [name for name in FILES if name.startswith("gms/") and not Path(name).name.startswith("Base")]


@pytest.mark.parametrize("name", GMS)
def test_gms_configs_have_a_folder_of_their_own(name: str) -> None:
    assert f"logs/{name}" == load_config(name).OUTPUT_DIR


@pytest.mark.parametrize("name", [name for name in GMS if name.count("/") > 1])
def test_gms_configs_are_section_g(name: str) -> None:
    cfg = load_config(name)
    solver = cfg.SOLVER
    assert (solver.OPT, solver.MOMENTUM, solver.WEIGHT_DECAY, solver.MAX_EPOCH) == ("SGD", 0.9, 5e-4, 140)
    assert (solver.BASE_LR, solver.WARMUP_FACTOR, solver.STEPS, solver.GAMMA) == (0.01, 0.01, [60, 100], 0.1)
    pretrained = ["backbone", *(["b1", "b2", "b3"] if "mgn" in name else [])]
    assert solver.WARMUP_ITERS == solver.FREEZE_ITERS and pretrained == cfg.MODEL.FREEZE_LAYERS
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [384 if "mgn" in name else 256, 128]
    images = {"Market1501": 12_936, "CUHK03:labeled=False": 7_365, "MSMT17": 32_621}[cfg.DATASETS.NAMES[0]]
    assert 20 * (images // solver.IMS_PER_BATCH) == solver.WARMUP_ITERS
    assert (solver.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, cfg.TEST.FLIP.ENABLED) == (64, 4, True)
    assert f"gms-{'c' if '/transfer/' in name else name.rpartition('_')[2]}" == cfg.MODEL.GMS.PRESET
    assert cfg.INPUT.FLIP.ENABLED and cfg.INPUT.PADDING.ENABLED and cfg.INPUT.REA.ENABLED


@pytest.mark.parametrize("name", [name for name in GMS if "search_" in name])
def test_searches_are_at_half_the_resolution_of_the_training(name: str) -> None:
    cfg = load_config(name)
    training = load_config(cfg.SEARCH.LOSS.TRAIN_CONFIG)
    assert [2 * side for side in cfg.INPUT.SIZE_TRAIN] == training.INPUT.SIZE_TRAIN
    assert cfg.MODEL.BACKBONE == training.MODEL.BACKBONE and cfg.MODEL.HEADS == training.MODEL.HEADS
    if "quickstart" not in name:
        table_2 = load_config("gms/quickstart").SEARCH.LOSS
        different = {key for key in table_2 if cfg.SEARCH.LOSS[key] != table_2[key]}
        assert different <= {"TRAIN_CONFIG", "PREDEFINED"}
