"""Every config of the project is what its file name says; the peers take a step on the batches they are given."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.losses import build_criterion
from fastreid_ext.modeling.meta_arch.mgn import MGN

CONFIGS = Path(__file__).resolve().parents[3] / "projects" / "adasp" / "configs"
PEOPLE = {
    "msmt17": "MSMT17",
    "market": "Market1501",
    "duke": "DukeMTMC",
    "cuhk03_labeled": "CUHK03:labeled=True",
    "cuhk03_detected": "CUHK03:labeled=False",
}
VEHICLES = {"veri": "VeRi", "vehicleid": "VehicleID", "veriwild": "VeRiWild"}
SIZES = ("Small", "Medium", "Large")
LARGE = {"vehicleid": [30, 40], "veriwild": [30, 70, 90]}
TRAINING_IMAGES = {
    "MSMT17": 32_621,
    "Market1501": 12_936,
    "DukeMTMC": 16_522,
    "CUHK03:labeled=True": 7_368,
    "CUHK03:labeled=False": 7_365,
    "VeRi": 37_746,
    "VehicleID": 113_346,
    "VeRiWild": 277_797,
}
BACKBONES = {"resnet50_ibn": ("50x", True), "resnet152": ("152x", False), "mgn": ("50x", True)}
OWN = {"adasp": "AdaSPLoss", "sp_h": "SPHLoss", "sp_lh": "SPLHLoss"}
PEERS = {
    "triplet_bh": "TripletLoss",
    "circle": "CircleLoss",
    "ms": "pml:MultiSimilarityLoss",
    "supcon": "pml:SupConLoss",
    "ep": "pml:NTXentLoss",
    "npair": "pml:NPairsLoss",
    "ranked_list": "pml:RankedListLoss",
    "lifted": "pml:LiftedStructureLoss",
    "contrastive": "pml:ContrastiveLoss",
    "smooth_ap": "pml:SmoothAPLoss",
    "fast_ap": "pml:FastAPLoss",
}
IN_ROBUSTNESS = {*OWN, "triplet_bh", "circle", "ms", "supcon", "ep"}


def names(folder: str) -> set[str]:
    return {path.stem for path in (CONFIGS / folder).glob("[a-z]*.yml")}


def load(name: str) -> CfgNode:
    cfg = load_config(CONFIGS / f"{name}.yml", ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 4])
    assert f"logs/adasp/{name}" == cfg.OUTPUT_DIR
    assert cfg.PROJECTS == ["adasp"] and cfg.DATALOADER.SAMPLER_TRAIN.endswith("IdentitySampler")
    assert cfg.MODEL.HEADS.CLS_LAYER == "Linear" and (4 if "veriwild" in name else 8) == cfg.DATALOADER.NUM_INSTANCE
    return cfg


def losses_of(cfg: CfgNode) -> list[str]:
    return [":".join(name.split(":")[:2]) for name in cfg.MODEL.LOSSES.NAME]


def load_full(name: str) -> CfgNode:
    """A config with the paper's schedule."""
    cfg = load(name)
    solver = cfg.SOLVER
    assert (solver.OPT, solver.BASE_LR) == ("Adam", 3.5e-4)
    large = next((steps for large, steps in LARGE.items() if large in name), None)
    assert (512 if large else 128, 120 if "veriwild" in name else 60) == (solver.IMS_PER_BATCH, solver.MAX_EPOCH)
    falls = solver.STEPS if large else solver.DELAY_EPOCHS
    assert (solver.SCHED, falls) == (("MultiStepLR", large) if large else ("CosineAnnealingLR", 30))
    # Once the rate is to fall, it must have risen.
    steps = TRAINING_IMAGES[cfg.DATASETS.NAMES[0]] // solver.IMS_PER_BATCH
    assert max(solver.WARMUP_ITERS, solver.FREEZE_ITERS) < steps * (falls[0] if large else falls)
    assert not cfg.MODEL.BACKBONE.WITH_NL and cfg.INPUT.SIZE_TEST == cfg.INPUT.SIZE_TRAIN
    return cfg


def backbone_of(cfg: CfgNode) -> tuple[str, bool]:
    return cfg.MODEL.BACKBONE.DEPTH, cfg.MODEL.BACKBONE.WITH_IBN


def test_no_config_is_left_out() -> None:
    settings = {*PEOPLE, *VEHICLES}
    assert names(".") == {"quickstart", "robustness_start", *settings, *(f"{name}_alone" for name in settings)}
    assert names("fig_s1") == {*OWN, *PEERS} and names("robustness") == IN_ROBUSTNESS
    rows = {f"{backbone}_{loss}" for backbone in BACKBONES for loss in ("adasp", "triplet_bh")}
    assert {
        data_set.name: names(f"table_s2/{data_set.name}") for data_set in (CONFIGS / "table_s2").iterdir()
    } == dict.fromkeys(PEOPLE, rows)
    assert len(names("ablation")) == 5 + 9


@pytest.mark.parametrize("data_set", PEOPLE)
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("loss", ["adasp", "triplet_bh"])
def test_table_s2(data_set: str, backbone: str, loss: str) -> None:
    cfg = load_full(f"table_s2/{data_set}/{backbone}_{loss}")
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == (PEOPLE[data_set],)
    assert cfg.INPUT.SIZE_TRAIN == [256, 128] and backbone_of(cfg) == BACKBONES[backbone]
    assert (cfg.MODEL.META_ARCHITECTURE == "MGN") == (backbone == "mgn")
    assert losses_of(cfg) == ["CrossEntropyLoss", OWN.get(loss) or PEERS[loss]]
    if loss == "adasp":
        assert (cfg.MODEL.LOSSES.ADASP.TEMPERATURE, cfg.MODEL.LOSSES.ADASP.SCALE) == (0.04, 0.1)
    else:
        assert cfg.MODEL.LOSSES.TRI.HARD_MINING and cfg.MODEL.LOSSES.TRI.SCALE == 1


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("data_set", [*PEOPLE, *VEHICLES])
def test_settings(data_set: str, alone: bool) -> None:
    cfg = load_full(data_set + "_alone" * alone)
    person = data_set in PEOPLE
    spec = PEOPLE.get(data_set) or VEHICLES[data_set]
    assert (spec,) == cfg.DATASETS.NAMES
    tests = (spec,) if person or data_set == "veri" else tuple(f"{size}{spec}" for size in SIZES)
    assert tests == cfg.DATASETS.TESTS and backbone_of(cfg) == ("50x", True)
    assert ([384 if alone else 256, 128] if person else [256, 256]) == cfg.INPUT.SIZE_TRAIN
    assert (cfg.MODEL.META_ARCHITECTURE == "MGN") == person
    assert (256 if person else 0) == cfg.MODEL.HEADS.EMBEDDING_DIM
    assert losses_of(cfg) == ["CrossEntropyLoss", "AdaSPLoss"][alone:]
    node = cfg.MODEL.LOSSES.ADASP
    assert (0.04 if person else 0.05) == node.TEMPERATURE
    assert (1 if alone else 0.1 if person else 0.5) == node.SCALE
    assert alone == cfg.SOLVER.FIND_UNUSED_PARAMETERS and bool(cfg.MODEL.FREEZE_LAYERS) == (data_set not in LARGE)


@pytest.mark.parametrize("name", sorted(names("ablation")))
def test_ablations_change_one_key(name: str) -> None:
    which, _, value = name.partition("_")
    cfg, base = load_full(f"ablation/{name}"), load_full("veri")
    key = {"lambda": "SCALE", "temperature": "TEMPERATURE"}[which]
    expected = base.clone()
    expected.defrost()
    expected.MODEL.LOSSES.ADASP[key], expected.OUTPUT_DIR = float(value), cfg.OUTPUT_DIR
    assert cfg == expected


@pytest.mark.parametrize("name", [*OWN, *PEERS])
def test_figure_s1_is_one_loss_alone(name: str) -> None:
    cfg = load_full(f"fig_s1/{name}")
    assert losses_of(cfg) == [(OWN | PEERS)[name]] and cfg.DATASETS.NAMES == ("VeRi",)
    assert cfg.INPUT.SIZE_TRAIN == [256, 256] and cfg.MODEL.LOSSES.ADASP.TEMPERATURE == 0.05
    assert cfg.SOLVER.FIND_UNUSED_PARAMETERS and cfg.MODEL.FREEZE_LAYERS == ["backbone"]


@pytest.mark.parametrize("name", sorted(IN_ROBUSTNESS))
def test_robustness_has_one_network_and_schedule(name: str) -> None:
    cfg, base = load(f"robustness/{name}"), load("robustness/adasp")
    assert losses_of(cfg) == [(OWN | PEERS)[name]]
    # 36 images of an identity: 32 of them without repetition.
    assert "num_cameras=6,images_per_camera=6" in cfg.DATASETS.NAMES[0] and cfg.SOLVER.IMS_PER_BATCH == 128
    expected = base.clone()
    expected.defrost()
    expected.MODEL.LOSSES, expected.OUTPUT_DIR = cfg.MODEL.LOSSES, cfg.OUTPUT_DIR
    assert cfg == expected


def test_quickstart() -> None:
    cfg = load("quickstart")
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == ("SynthReID",) and cfg.INPUT.SIZE_TRAIN == [64, 32]
    assert losses_of(cfg) == ["CrossEntropyLoss", "AdaSPLoss"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_networks_of_table_s2(backbone: str) -> None:
    with torch.device("meta"):
        options = ["MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.BACKBONE.PRETRAIN", False]
        model = build_model(load_config(CONFIGS / f"table_s2/msmt17/{backbone}_adasp.yml", options))
    assert isinstance(model, MGN) == (backbone == "mgn")
    assert any(isinstance(module, nn.InstanceNorm2d) for module in model.modules()) == (backbone != "resnet152")


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("instances", [4, 8, 32])
@pytest.mark.parametrize("name", [*OWN, *PEERS])
def test_losses_take_a_step(name: str, instances: int, autocast: bool) -> None:
    if name in PEERS:
        pytest.importorskip("pytorch_metric_learning")
    generator = torch.Generator().manual_seed(0)
    pids = torch.arange(64) // instances + 3
    images = torch.randn(64, 12, generator=generator)
    layer = nn.Linear(12, 16)
    nn.init.normal_(layer.weight, generator=generator)
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        # The temperature of the ranked list loss is its paper's.
        warnings.filterwarnings("ignore", "Values of Tp or Tn are too high")
        criterion = build_criterion(load(f"fig_s1/{name}"))
        features = layer(images)
        assert (features.dtype == torch.bfloat16) == autocast
        (loss,) = criterion({"features": features}, pids).values()
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and loss > 0
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all() and layer.weight.grad.any()
