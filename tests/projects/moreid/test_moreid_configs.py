"""Every config of the project has the paper's values; rows of a table differ in what the table says only."""

import re
import shlex
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.engine.sweep.plan import parse_options, plan_settings
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.layers import NonLocal
from fastreid_ext.modeling.losses import build_criterion
from fastreid_ext.projects.moreid import MoReID, NegativeDictionary
from fastreid_ext.solver.base_rate import rate_of_data_size

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "projects" / "moreid" / "configs"
# Data set, test sets, height and width, epochs, training images, rate of eq. 4.
DATA: dict[str, tuple[str, tuple[str, ...], list[int], int, int, float]] = {
    "veri": ("VeRi", ("VeRi",), [256, 256], 60, 37_775, 0.0104),
    "market": ("Market1501", ("Market1501",), [384, 128], 60, 12_936, 0.0054),
    "veriwild": (
        "VeRiWild",
        ("SmallVeRiWild", "MediumVeRiWild", "LargeVeRiWild"),
        [256, 256],
        120,
        277_797,
        0.0196,
    ),
}
TRIPLET = {"NAME": ("CrossEntropyLoss", "TripletLoss"), "TRI.MARGIN": 0.3, "TRI.HARD_MINING": True}
TRI_HARD: dict[str, Any] = {f"MODEL.LOSSES.{key}": value for key, value in TRIPLET.items()}
WITHIN = {"MODEL.META_ARCHITECTURE": "Baseline"}
PAIRS = {"DATALOADER.NUM_INSTANCE": 2}
# What a row of a table changes in `table3/both`, by the name of its config.
TABLE_3: dict[str, dict[str, Any]] = {
    "table3/baseline": {**WITHIN, **TRI_HARD},
    "table3/he": WITHIN,
    "table3/moreid": TRI_HARD,
    "table3/both": {},
}
MOREID = "MODEL.MOREID"
OF_SIZE = {512: 0.99, 1024: 0.99, 2048: 0.995, 4096: 0.997, 8192: 0.997}
ABLATIONS: dict[str, dict[str, Any]] = {
    **{f"momentum_{m}": {f"{MOREID}.MOMENTUM": m} for m in (0.9, 0.99, 0.995, 0.997, 0.999)},
    **{
        f"dictionary_{size}": {f"{MOREID}.DICTIONARY_SIZE": size, f"{MOREID}.MOMENTUM": m}
        for size, m in OF_SIZE.items()
    },
    **{f"batch_{256 // n}x{n}": {"DATALOADER.NUM_INSTANCE": n} for n in (2, 4, 8, 16, 32)},
    **{f"similarity_{metric}": {"MODEL.LOSSES.HE.METRIC": metric} for metric in ("cosine", "euclidean")},
    **{
        f"past_positives_{m}": {f"{MOREID}.PAST_POSITIVES": True, f"{MOREID}.MOMENTUM": m}
        for m in (0.995, 0.997, 0.999)
    },
    **{f"rate_{rate}": {"SOLVER.BASE_LR": rate} for rate in (0.001, 0.005, 0.01, 0.02)},
}
SWITCHES = {
    "autoaug": "INPUT.AUTOAUG.ENABLED",
    "ibn": "MODEL.BACKBONE.WITH_IBN",
    "non_local": "MODEL.BACKBONE.WITH_NL",
}
COMPONENTS: dict[str, dict[str, Any]] = {
    "plain": dict.fromkeys(SWITCHES.values(), False),
    **{f"without_{part}": {key: False} for part, key in SWITCHES.items()},
    "all": {},
}
BACKBONES: dict[str, dict[str, Any]] = {
    f"backbone/{name}_{loss}": {**changes, **(TRI_HARD if loss == "triplet" else {})}
    for name, changes in COMPONENTS.items()
    for loss in ("triplet", "he")
}


def loss(name: str, **settings: Any) -> dict[str, Any]:
    below = {"NAME": ("CrossEntropyLoss", name), **{key.replace("__", "."): value for key, value in settings.items()}}
    return {f"MODEL.LOSSES.{key}": value for key, value in below.items()}


N_PAIR, RANKED_LIST = loss("NPairLoss", N_PAIR__NUM_NEGATIVES=15), loss("RankedListLoss", RANKED_LIST__ALPHA=1.2)
INFO_NCE = {
    f"info_nce_{form}" + "_hard" * bool(negatives): {
        **loss("InfoNCELoss", INFO_NCE__TEMPERATURE=0.07, INFO_NCE__FORM=form, INFO_NCE__NUM_NEGATIVES=negatives),
        **(PAIRS if form == "single" else {}),
    }
    for form in ("single", "in", "out")
    for negatives in (0, 15)
}
LOSSES: dict[str, dict[str, Any]] = {
    "he": {},
    "he_128x2": PAIRS,
    "tri_hard": TRI_HARD,
    "tri_all": {**TRI_HARD, "MODEL.LOSSES.TRI.HARD_MINING": False},
    "circle": loss("CircleLoss"),
    "c_triplet": loss("ClassTripletLoss"),
    "w_triplet": loss("WeightedTripletLoss"),
    "n_pair": N_PAIR,
    "ranked_list": {**RANKED_LIST, "MODEL.LOSSES.RANKED_LIST.MARGIN": 0.4},
    "baseline_he": WITHIN,
    "baseline_triplet": {**WITHIN, **TRI_HARD},
    "baseline_n_pair": {**WITHIN, **N_PAIR},
    "baseline_ranked_list": {**WITHIN, **RANKED_LIST},
    **INFO_NCE,
}
ROWS = {
    **TABLE_3,
    **{f"ablation/{name}": changes for name, changes in ABLATIONS.items()},
    **BACKBONES,
    **{f"losses/{name}": changes for name, changes in LOSSES.items()},
}


def head(name: str) -> str:
    return (CONFIGS / f"{name}.yml").read_text(encoding="utf-8").split("_BASE_")[0]


def load(name: str) -> CfgNode:
    cfg = load_config(CONFIGS / f"{name}.yml", ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 4])
    assert f"logs/moreid/{name}" == cfg.OUTPUT_DIR and cfg.PROJECTS == ["moreid"]
    assert cfg.DATALOADER.SAMPLER_TRAIN == "NaiveIdentitySampler" and cfg.TEST.METRIC == "euclidean"
    return cfg


def load_full(name: str) -> CfgNode:
    """A config with the paper's training."""
    cfg = load(name)
    solver, backbone, heads = cfg.SOLVER, cfg.MODEL.BACKBONE, cfg.MODEL.HEADS
    assert (solver.OPT, solver.MOMENTUM, solver.NESTEROV, solver.WEIGHT_DECAY) == ("SGD", 0.9, True, 5e-4)
    assert (solver.IMS_PER_BATCH, solver.SCHED, solver.ETA_MIN_LR) == (256, "CosineAnnealingLR", 0)
    assert 2 * solver.DELAY_EPOCHS == solver.MAX_EPOCH
    # Once the rate is to fall, it must have risen.
    images = {data_set: images for data_set, *_, images, _ in DATA.values()}[cfg.DATASETS.NAMES[0]]
    assert max(solver.WARMUP_ITERS, solver.FREEZE_ITERS) < images // solver.IMS_PER_BATCH * solver.DELAY_EPOCHS / 2
    assert (backbone.NAME, backbone.DEPTH, cfg.MODEL.FREEZE_LAYERS) == ("build_resnet_backbone", "50x", ["backbone"])
    assert (heads.POOL_LAYER, heads.NECK_FEAT) == ("GeneralizedMeanPooling", "after")
    assert (heads.CLS_LAYER, heads.SCALE, heads.MARGIN) == ("CircleSoftmax", 64, 0.35)
    inputs = cfg.INPUT
    assert inputs.FLIP.ENABLED and inputs.REA.ENABLED and not inputs.PADDING.ENABLED
    assert inputs.SIZE_TEST == inputs.SIZE_TRAIN
    return cfg


def test_no_config_is_left_out() -> None:
    found = {str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("[a-z]*.yml")}
    synth = {f"synth/{name}" for name in ("baseline", "he", "moreid", "both")}
    assert found == {"quickstart", *synth, *DATA, *ROWS}


@pytest.mark.parametrize("name", DATA)
def test_data_sets(name: str) -> None:
    cfg, (data_set, tests, size, epochs, images, rate) = load_full(name), DATA[name]
    assert ((data_set,), tests, size) == (cfg.DATASETS.NAMES, cfg.DATASETS.TESTS, cfg.INPUT.SIZE_TRAIN)
    assert (epochs, "auto") == (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR)
    assert rate_of_data_size(images) == pytest.approx(rate, abs=5e-5)
    assert cfg.MODEL.META_ARCHITECTURE == "MoReID" and cfg.DATALOADER.NUM_INSTANCE == 16
    assert cfg.MODEL.BACKBONE.WITH_IBN and cfg.MODEL.BACKBONE.WITH_NL and cfg.INPUT.AUTOAUG.ENABLED
    node, losses = cfg.MODEL.MOREID, cfg.MODEL.LOSSES
    assert (node.MOMENTUM, node.DICTIONARY_SIZE, node.PAST_POSITIVES) == (0.997, 8192, False)
    assert losses.NAME == ("CrossEntropyLoss", "HardDistanceElasticLoss") and losses.HE.METRIC == "euclidean"
    assert losses.CE.SCALE == losses.HE.SCALE == 1


def test_data_sets_differ_in_their_data_and_schedule_only() -> None:
    allowed = re.compile(
        r"DATASETS\.|INPUT\.SIZE_|OUTPUT_DIR|TEST\.EVAL_PERIOD|"
        r"SOLVER\.(MAX_EPOCH|DELAY_EPOCHS|WARMUP_ITERS|FREEZE_ITERS|CHECKPOINT_PERIOD)"
    )
    veri = dict(load("veri").leaves())
    for name in ("market", "veriwild"):
        assert all(allowed.match(key) for key, value in load(name).leaves() if value != veri[key])


@pytest.mark.parametrize("name", ROWS)
def test_rows_differ_in_what_their_table_says(name: str) -> None:
    cfg, base = load_full(name), load_full("table3/both")
    expected = base.clone()
    expected.defrost()
    changes = {**ROWS[name], "OUTPUT_DIR": cfg.OUTPUT_DIR}
    expected.merge_from_list(list(chain.from_iterable(changes.items())))
    assert cfg == expected


def test_comparisons_are_the_papers_training_at_its_rate() -> None:
    differences = dict(set(_hashable(load("table3/both"))) - set(_hashable(load("veri"))))
    assert differences == {"SOLVER.BASE_LR": "0.01", "OUTPUT_DIR": "'logs/moreid/table3/both'"}


def _hashable(cfg: CfgNode) -> list[tuple[str, str]]:
    return [(key, repr(value)) for key, value in cfg.leaves()]


@pytest.mark.parametrize("name", [*DATA, *ROWS])
def test_headers_have_the_papers_figure(name: str) -> None:
    assert name in {"ablation/rate_0.001", "ablation/rate_0.005", "ablation/rate_0.02"} or re.search(
        r"\n# Paper: mAP .*\d\d\.\d", head(name)
    )


def cells(table: str) -> dict[tuple[str, str], str]:
    """A table of the README by its first heading: cells by (row, column)."""
    text = (CONFIGS.parent / "README.md").read_text(encoding="utf-8")
    lines = text[text.index(f"| {table}") :].split("\n\n")[0].splitlines()
    columns, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], column): cell for row in rows for column, cell in zip(columns[1:], row[1:], strict=True)}


FAMILIES = {
    "momentum": ("Momentum (paper)", "HE"),
    "past_positives": ("Momentum (paper)", "with past positives"),
    "dictionary": ("Dictionary (paper)", "HE"),
    "batch": ("Batch (paper)", "HE"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_figures_of_headers_are_those_of_the_readme(family: str) -> None:
    table, row = FAMILIES[family]
    printed = {column: cell for (name, column), cell in cells(table).items() if name == row and cell}
    values = [name.rpartition("_")[2] for name in ABLATIONS if name.rpartition("_")[0] == family]
    heads = {value: head(f"ablation/{family}_{value}") for value in values}
    headed = {value: text.partition("# Paper: mAP ")[2].partition("\n")[0].rstrip(".") for value, text in heads.items()}
    assert headed == {value: figure for value, figure in printed.items() if value != "no dictionary"}


SWEEPS = sorted(
    {
        " ".join(command.replace("\\\n#", "").split())
        for name in ROWS
        for command in re.findall(r"# +(python tools/sweep\.py (?:.*\\\n)*.*)", head(name))
    }
)


@pytest.mark.parametrize("command", SWEEPS)
def test_sweeps_can_be_planned(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    patterns, options = words[3 : words.index("--seeds")], words[words.index("--seeds") + 2 :]
    files = [str(path) for pattern in patterns for path in sorted(Path().glob(pattern))]
    axes, fixed = parse_options(options)
    settings = plan_settings(files, axes, fixed)
    assert len(settings) == len(files) * (2 if axes else 1) > 1


def test_every_family_has_a_sweep() -> None:
    folders = {shlex.split(command.partition("OUTPUT_DIR ")[2])[0].rpartition("/")[2] for command in SWEEPS}
    families = {name.rpartition("_")[0] for name in ABLATIONS}
    assert folders == {"table3", "losses", "backbone", "dictionary_triplet", *families}


def test_the_network_is_the_papers_as_far_as_the_readme_says() -> None:
    cfg = load_config(
        CONFIGS / "veri.yml", ["MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.BACKBONE.PRETRAIN", False]
    )
    with torch.device("meta"):
        model = build_model(cfg)
    assert isinstance(model, MoReID)
    assert [len(model.get_submodule(f"backbone.NL_{stage}")) for stage in (1, 2, 3, 4)] == [0, 2, 3, 0]
    assert sum(isinstance(module, NonLocal) for module in model.momentum_encoder.modules()) == 5
    with_ibn = {name.split(".")[1] for name, module in model.named_modules() if isinstance(module, nn.InstanceNorm2d)}
    assert with_ibn & {"layer1", "layer2", "layer3", "layer4"} == {"layer1", "layer2", "layer3"}
    assert sum(buffer.nbytes for buffer in model.dictionary.buffers()) == 8192 * (4 * 2048 + 8 + 8) + 24 == 67_239_960


@pytest.mark.parametrize("name", LOSSES)
def test_losses_take_a_step_against_a_dictionary(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    cfg = load(f"losses/{name}")
    criterion = build_criterion(cfg)
    instances = cfg.DATALOADER.NUM_INSTANCE
    dictionary = NegativeDictionary(100, 8)
    for batch in range(3):
        pids = torch.arange(32) // instances + batch
        features = torch.randn(32, 8, generator=generator, requires_grad=True)
        logits = torch.randn(32, 40, generator=generator)
        keys = {} if name.startswith("baseline_") else {"keys": dictionary(features, pids)}
        losses = criterion({"features": features, "cls_outputs": logits, "pred_class_logits": logits, **keys}, pids)
        (tripletwise,) = (value for key, value in losses.items() if "cls" not in key)
        tripletwise.backward()
        assert features.grad is not None and features.grad.isfinite().all() and features.grad.any()


def test_quickstart() -> None:
    cfg = load("quickstart")
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == ("SynthReID",) and cfg.INPUT.SIZE_TRAIN == [64, 32]
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, cfg.MODEL.MOREID.DICTIONARY_SIZE) == (64, 8, 512)
    assert cfg.MODEL.META_ARCHITECTURE == "MoReID" and "HardDistanceElasticLoss" in cfg.MODEL.LOSSES.NAME
