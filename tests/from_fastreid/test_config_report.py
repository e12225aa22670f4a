"""What is said about configs of FastReID, and their modern form."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.compat.config_report import build_network, explain, fit, report
from fastreid_ext.compat.config_report import differences_evaluation as of_evaluation
from fastreid_ext.compat.config_report import differences_model as of_model
from fastreid_ext.compat.config_report import differences_training as of_training
from fastreid_ext.compat.config_report import mistakes_model as in_model
from fastreid_ext.compat.config_report import mistakes_names as in_names
from fastreid_ext.compat.config_report import mistakes_training as in_training
from fastreid_ext.compat.config_report.facts import TRAINING_SETS
from fastreid_ext.compat.config_report.network import Network
from fastreid_ext.compat.config_report.old_config import OldConfig, read_old_config
from fastreid_ext.compat.config_report.rules import DIFFERENCES, MISTAKES, Rule
from fastreid_ext.compat.config_report.timeline import timeline
from fastreid_ext.config import ConfigError, load_config
from fastreid_ext.data.datasets import DATASETS
from fastreid_ext.solver import build_lr_scheduler

CONFIGS = Path(__file__).resolve().parent / "configs"
FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yml"))

Options = list[Any]

PAIRS = ["DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler"]
MGN = ["MODEL.META_ARCHITECTURE", "MGN"]
COSINE = ["SOLVER.SCHED", "CosineAnnealingLR"]
TRIPLETS = ["MODEL.LOSSES.NAME", ("TripletLoss",)]
LOSSES = "MODEL.LOSSES.NAME"

# Options that a rule speaks about, and options that are close to them, but that it has nothing to say about.
CASES: list[tuple[Rule, Options, Options]] = [
    (of_model.non_local_width, ["MODEL.BACKBONE.WITH_NL", True], ["MODEL.BACKBONE.WITH_NL", True, *MGN]),
    (of_model.normalised_triplets, [*TRIPLETS, "MODEL.LOSSES.TRI.NORM_FEAT", True], TRIPLETS),
    (of_model.negative_margin, [*TRIPLETS, "MODEL.LOSSES.TRI.MARGIN", -1], ["MODEL.LOSSES.TRI.MARGIN", -1]),
    (of_model.softly_weighted_triplets, TRIPLETS, [*TRIPLETS, "MODEL.LOSSES.TRI.HARD_MINING", True]),
    (of_model.mgn_of_any_resnet, [*MGN, "SOLVER.HEADS_LR_FACTOR", 10], ["SOLVER.HEADS_LR_FACTOR", 10]),
    (of_model.mgn_of_any_resnet, [*MGN, "MODEL.BACKBONE.WITH_NL", True], MGN),
    (
        of_model.frozen_by_prefix,
        [*MGN, "MODEL.FREEZE_LAYERS", ["b1"], "SOLVER.FREEZE_ITERS", 9],
        [*MGN, "MODEL.FREEZE_LAYERS", ["backbone"], "SOLVER.FREEZE_ITERS", 9],
    ),
    (
        of_model.frozen_by_prefix,
        ["MODEL.FREEZE_LAYERS", ["backbone.layer1"], "SOLVER.FREEZE_ITERS", 9],
        ["MODEL.FREEZE_LAYERS", ["backbone.layer1"]],
    ),
    (of_model.teachers_that_count, ["MODEL.META_ARCHITECTURE", "Distiller"], []),
    (of_model.heads_of_classes, ["MODEL.HEADS.NAME", "ClasHead"], []),
    (of_training.weights_of_data_sets, ["DATALOADER.SAMPLER_TRAIN", "SetReWeightSampler"], PAIRS),
    (of_model.memory_of_moco, ["MODEL.META_ARCHITECTURE", "MoCo"], []),
    (
        of_model.corner_of_the_map,
        ["MODEL.HEADS.POOL_LAYER", "Identity"],
        ["MODEL.HEADS.POOL_LAYER", "Identity", "MODEL.BACKBONE.NAME", "build_vit_backbone"],
    ),
    (of_training.schedule_after_warmup, ["SOLVER.WARMUP_ITERS", 202], ["SOLVER.WARMUP_ITERS", 201]),
    (of_training.schedule_after_warmup, ["SOLVER.DELAY_EPOCHS", 1], [*COSINE, "SOLVER.DELAY_EPOCHS", 4]),
    (of_training.schedule_after_warmup, COSINE, [*COSINE, "SOLVER.WARMUP_ITERS", 0]),
    (
        of_training.schedule_after_warmup,
        ["DATASETS.NAMES", ("Mine",)],
        ["DATASETS.NAMES", ("Mine",), "SOLVER.WARMUP_ITERS", 0],
    ),
    (of_training.half_precision, ["SOLVER.AMP.ENABLED", True], []),
    (
        of_training.people_of_msmt17,
        ["DATASETS.NAMES", ("MSMT17",)],
        ["DATASETS.NAMES", ("MSMT17",), "DATASETS.COMBINEALL", True],
    ),
    (
        of_training.order_of_autoaugment,
        ["INPUT.AUTOAUG.ENABLED", True, "INPUT.AUTOAUG.PROB", 0.1],
        ["INPUT.AUTOAUG.ENABLED", True],
    ),
    (of_training.data_of_the_defaults, [], ["DATASETS.NAMES", ("VeRi",), "DATASETS.TESTS", ("VeRi",)]),
    (of_training.erased_areas, ["INPUT.REA.ENABLED", True], ["INPUT.REA.PROB", 0.9]),
    (of_training.sizes_as_they_are, ["INPUT.SIZE_TRAIN", [0]], ["INPUT.SIZE_TRAIN", [256, 128]]),
    (of_training.patches_of_the_batch, ["INPUT.RPT.ENABLED", True], ["INPUT.RPT.PROB", 1.0]),
    (of_training.statistics_of_another_set, ["TEST.PRECISE_BN.ENABLED", True], []),
    (of_evaluation.flip_test, ["TEST.FLIP.ENABLED", True], ["INPUT.FLIP.ENABLED", True]),
    (of_evaluation.query_expansion, ["TEST.AQE.ENABLED", True], ["TEST.AQE.ALPHA", 2.5]),
    (of_evaluation.re_ranking, ["TEST.RERANK.ENABLED", True], ["TEST.RERANK.K1", 30]),
    (
        of_evaluation.both_at_once,
        ["TEST.RERANK.ENABLED", True, "TEST.AQE.ENABLED", True],
        ["TEST.RERANK.ENABLED", True],
    ),
    (of_evaluation.curves, ["TEST.ROC.ENABLED", True], []),
    (of_evaluation.trials_of_vehicleid, ["DATASETS.TESTS", ("SmallVehicleID",)], ["DATASETS.NAMES", ("VehicleID",)]),
    (of_evaluation.jaccard, ["TEST.METRIC", "jaccard"], ["TEST.METRIC", "euclidean"]),
    (of_evaluation.evaluation_at_the_end, ["TEST.EVAL_PERIOD", 0], ["TEST.EVAL_PERIOD", 1]),
    (in_names.unknown_keys, ["SOLVER.BASE_RL", 1.0], ["SOLVER.BASE_LR", 1.0]),
    (in_names.unknown_keys, ["MODEL.BACKBONE", "resnet"], ["COMPUTED_WIDTH", 3]),
    (in_names.values_of_another_type, ["SOLVER.BASE_LR", "high"], ["SOLVER.BASE_LR", "3e-4"]),
    (in_names.unknown_names, ["MODEL.HEADS.POOL_LAYER", "GAP"], ["MODEL.HEADS.POOL_LAYER", "GlobalMaxPool"]),
    (in_names.unknown_losses, [LOSSES, ("CrossEntropyLoss", "TripletLos")], [LOSSES, ("CircleLoss", "Cosface")]),
    (in_names.unknown_losses, [LOSSES, ("CrossEntropyLoss", "FocalLoss")], [LOSSES, ("CrossEntropyLoss",)]),
    (in_names.unknown_losses, [*MGN, LOSSES, ("TripletLoss", "CircleLoss")], [LOSSES, ("TripletLoss", "CircleLoss")]),
    (in_names.unknown_losses, [LOSSES, ()], []),
    (in_names.unknown_data_sets, ["DATASETS.TESTS", ("Markt1501",)], ["DATASETS.TESTS", ("DukeMTMC",)]),
    (in_names.names_without_a_comma, ["DATASETS.NAMES", "('MSMT17')"], ["DATASETS.NAMES", "('MSMT17',)"]),
    (in_model.keys_that_nothing_reads, ["MODEL.LOSSES.FL.GAMMA", 3], ["MODEL.LOSSES.FL.GAMMA", 2]),
    (
        in_model.keys_that_nothing_reads,
        ["MODEL.LOSSES.CIRCLE.GAMMA", 64],
        ["MODEL.LOSSES.CIRCLE.GAMMA", 64, LOSSES, ("CircleLoss",)],
    ),
    (
        in_model.keys_that_nothing_reads,
        ["MODEL.HEADS.MARGIN", 0.3],
        ["MODEL.HEADS.MARGIN", 0.3, "MODEL.HEADS.CLS_LAYER", "ArcSoftmax"],
    ),
    (
        in_model.keys_that_nothing_reads,
        ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.WITH_SE", True],
        ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.WITH_IBN", True],
    ),
    (in_model.keys_that_nothing_reads, [*COSINE, "SOLVER.STEPS", [9]], ["SOLVER.STEPS", [9]]),
    (in_model.keys_that_nothing_reads, ["SOLVER.MOMENTUM", 0.5], ["SOLVER.MOMENTUM", 0.5, "SOLVER.OPT", "SGD"]),
    (in_model.keys_that_nothing_reads, ["INPUT.REA.PROB", 0.9], ["INPUT.REA.PROB", 0.9, "INPUT.REA.ENABLED", True]),
    (
        in_model.keys_that_nothing_reads,
        ["MODEL.LOSSES.CE.ALPHA", 0.5],
        ["MODEL.LOSSES.CE.ALPHA", 0.5, "MODEL.LOSSES.CE.EPSILON", -1],
    ),
    (in_model.keys_that_nothing_reads, ["DATALOADER.NUM_INSTANCE", 8], ["DATALOADER.NUM_INSTANCE", 8, *PAIRS]),
    (
        in_model.width_of_the_map,
        ["MODEL.BACKBONE.DEPTH", "18x"],
        ["MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512],
    ),
    (in_model.frozen_names, ["MODEL.FREEZE_LAYERS", ["backbones"]], ["MODEL.FREEZE_LAYERS", ["backbone.layer1"]]),
    (in_model.half_a_freeze, ["MODEL.FREEZE_LAYERS", ["heads"]], []),
    (
        in_model.half_a_freeze,
        ["SOLVER.FREEZE_ITERS", 9],
        ["SOLVER.FREEZE_ITERS", 9, "MODEL.FREEZE_LAYERS", ["heads"]],
    ),
    (
        in_model.pooling_that_does_not_pool,
        ["MODEL.HEADS.POOL_LAYER", "Identity"],
        ["MODEL.HEADS.POOL_LAYER", "Identity", "MODEL.BACKBONE.NAME", "build_vit_backbone"],
    ),
    (
        in_model.pooling_that_does_not_pool,
        ["MODEL.HEADS.POOL_LAYER", "Flatten"],
        ["MODEL.HEADS.POOL_LAYER", "Flatten", "MODEL.HEADS.NAME", "MyHead"],
    ),
    (
        in_model.memory_of_broken_batches,
        ["MODEL.META_ARCHITECTURE", "MoCo", "MODEL.QUEUE_SIZE", 100],
        ["MODEL.META_ARCHITECTURE", "MoCo", "MODEL.QUEUE_SIZE", 128],
    ),
    (
        in_model.neck_that_stands_still,
        ["MODEL.HEADS.NORM", "FrozenBN", "MODEL.HEADS.WITH_BNNECK", True],
        ["MODEL.HEADS.NORM", "FrozenBN"],
    ),
    (
        in_model.scaled_linear_outputs,
        ["MODEL.HEADS.SCALE", 64],
        ["MODEL.HEADS.SCALE", 64, "MODEL.HEADS.CLS_LAYER", "CosSoftmax"],
    ),
    (in_model.margin_without_scale, ["MODEL.HEADS.CLS_LAYER", "CosSoftmax"], []),
    (
        in_model.mgn_of_another_backbone,
        [*MGN, "MODEL.BACKBONE.NAME", "build_osnet_backbone"],
        ["MODEL.BACKBONE.NAME", "build_osnet_backbone"],
    ),
    (in_model.mgn_of_another_backbone, [*MGN, "MODEL.BACKBONE.DEPTH", "34x"], MGN),
    (in_training.steps_that_never_come, ["SOLVER.STEPS", [40, 120]], ["SOLVER.STEPS", [40, 115]]),
    (in_training.steps_that_never_come, ["SOLVER.STEPS", [116]], [*COSINE, "SOLVER.STEPS", [130]]),
    (in_training.delay_without_end, ["SOLVER.DELAY_EPOCHS", 120], ["SOLVER.DELAY_EPOCHS", 119]),
    (in_training.warmup_without_end, ["SOLVER.WARMUP_ITERS", 24_240], ["SOLVER.WARMUP_ITERS", 24_239]),
    (
        in_training.decays_that_do_not_follow,
        ["SOLVER.WEIGHT_DECAY", 1e-4],
        ["SOLVER.WEIGHT_DECAY", 1e-4, "SOLVER.WEIGHT_DECAY_BIAS", 0.0, "SOLVER.WEIGHT_DECAY_NORM", 0.0],
    ),
    (in_training.broken_identities, [*PAIRS, "SOLVER.IMS_PER_BATCH", 66], ["SOLVER.IMS_PER_BATCH", 66]),
    (
        in_training.broken_identities,
        [*PAIRS, "SOLVER.IMS_PER_BATCH", 3_008],
        [*PAIRS, "SOLVER.IMS_PER_BATCH", 3_004],
    ),
    (in_training.classes_of_other_data, ["MODEL.HEADS.NUM_CLASSES", 750], ["MODEL.HEADS.NUM_CLASSES", 751]),
    (
        in_training.statistics_of_other_data,
        ["TEST.PRECISE_BN.ENABLED", True, "DATASETS.NAMES", ("DukeMTMC",)],
        ["TEST.PRECISE_BN.ENABLED", True],
    ),
    (
        in_training.lying_people,
        ["INPUT.SIZE_TRAIN", [128, 256]],
        ["INPUT.SIZE_TRAIN", [128, 256], "DATASETS.NAMES", ("VeRi",), "DATASETS.TESTS", ("VeRi",)],
    ),
    (
        in_training.two_sizes,
        ["INPUT.SIZE_TRAIN", [384, 128]],
        ["INPUT.SIZE_TRAIN", [384, 128], "INPUT.SIZE_TEST", [384, 128]],
    ),
    (
        in_training.augmentation_that_never_acts,
        ["INPUT.AUTOAUG.ENABLED", True],
        ["INPUT.AUTOAUG.ENABLED", True, "INPUT.AUTOAUG.PROB", 0.1],
    ),
    (in_training.weights_of_another_machine, ["MODEL.WEIGHTS", "/nowhere/a.pth"], ["MODEL.WEIGHTS", __file__]),
    (in_training.weights_of_another_machine, ["MODEL.WEIGHTS", "nowhere/a.pth"], ["KD.MODEL_CONFIG", ["a.yml"]]),
    (
        in_training.weights_of_another_machine,
        ["MODEL.META_ARCHITECTURE", "Distiller", "KD.MODEL_WEIGHTS", ["nowhere/a.pth"]],
        ["MODEL.META_ARCHITECTURE", "Distiller", "KD.MODEL_WEIGHTS", [__file__]],
    ),
]
OF_FILES = {in_names.keys_given_twice}


def write(folder: Path, text: str, name: str = "old.yml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def old_config(folder: Path, options: Options) -> OldConfig:
    return read_old_config(write(folder, ""), options)


def test_every_rule_has_a_case_and_says_what_it_is_for() -> None:
    rules = [*DIFFERENCES, *MISTAKES]
    assert {rule for rule, _, _ in CASES} | OF_FILES == set(rules)
    assert all(rule.__doc__ for rule in rules)


@pytest.mark.parametrize(("rule", "named", "unnamed"), CASES, ids=lambda value: getattr(value, "__name__", "-"))
def test_rule(rule: Rule, named: Options, unnamed: Options, tmp_path: Path) -> None:
    found = list(rule(old_config(tmp_path, named)))
    assert found and all(finding.key and finding.text for finding in found)
    assert not list(rule(old_config(tmp_path, unnamed)))


def test_key_given_twice(tmp_path: Path) -> None:
    path = write(
        tmp_path, "SOLVER:\n  MAX_EPOCH: 9\n  MAX_EPOCH: 8\nTEST:\n  EVAL_PERIOD: 1\nTEST:\n  METRIC: cosine\n"
    )
    value, section = in_names.keys_given_twice(read_old_config(path))
    assert (value.key, section.key) == ("SOLVER.MAX_EPOCH", "TEST")
    assert "lines 2 and 3" in value.text and "all that the first section says is lost" in section.text
    assert read_old_config(path).cfg.SOLVER.MAX_EPOCH == 8


def test_what_a_base_sets_for_its_own_recipe_is_no_mistake(tmp_path: Path) -> None:
    write(tmp_path, "SOLVER:\n  STEPS: [9]\n", "Base.yml")
    path = write(tmp_path, "_BASE_: Base.yml\nSOLVER:\n  SCHED: CosineAnnealingLR\n")
    assert not list(in_model.keys_that_nothing_reads(read_old_config(path)))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the time of building it."""
    monkeypatch.setattr(in_model, "build_network", lambda *_, **__: Network({}))


@pytest.mark.parametrize("file", [file for file in FILES if "/" in file])
@pytest.mark.usefixtures("no_network")
def test_own_configs_of_fastreid_are_explained(file: str) -> None:
    explanation = explain(CONFIGS / file)
    old = explanation.old
    assert not old.unknown and not old.refused and not explanation.spellings and not explanation.not_here
    mistaken = {finding.key for finding in explanation.mistakes}
    assert mistaken <= {"MODEL.BACKBONE.WITH_NL", "MODEL.BACKBONE.PRETRAIN_PATH", "SOLVER.WEIGHT_DECAY"}
    assert ("MODEL.BACKBONE.WITH_NL" in mistaken) == (old.family is not None and "S50" in file and "bag" not in file)
    text = report(explanation)
    # However deep the folder is that this checkout lies in.
    assert max(len(line) for line in text.split("\n") if line != str(old.path)) <= 120
    assert f"Likely mistakes: {len(mistaken) or 'none'}" in text


NETWORKS = {
    load_config(CONFIGS / file, ["MODEL.HEADS.NUM_CLASSES", 3]).MODEL.dump(): file for file in FILES if "/" in file
}


@pytest.mark.parametrize("file", NETWORKS.values())
@pytest.mark.usefixtures("no_network")
def test_modern_form_builds_the_same_network(file: str, tmp_path: Path) -> None:
    path = write(tmp_path, explain(CONFIGS / file).modern, "modern.yml")
    options = ["MODEL.BACKBONE.WITH_NL", False] if "S50" in file else []
    before, now = (build_network(load_config(of, options), classes=3) for of in (CONFIGS / file, path))
    assert now.shapes and now.shapes == before.shapes


@pytest.mark.usefixtures("no_network")
def test_modern_form_has_the_same_values(tmp_path: Path) -> None:
    file = CONFIGS / "VeRi/sbs_R50-ibn.yml"
    path = write(tmp_path, explain(file).modern, "modern.yml")
    before, now = (dict(load_config(of).leaves()) for of in (file, path))
    # Which a cosine does not read.
    assert {key for key in before if now[key] != before[key]} == {"SOLVER.STEPS"}


@pytest.mark.usefixtures("no_network")
def test_published_form_asks_for_fastreids_ways(tmp_path: Path) -> None:
    options = ["TEST.RERANK.ENABLED", "True"]
    text = explain(CONFIGS / "MSMT17/AGW_R50.yml", options, published=True).modern
    cfg = load_config(write(tmp_path, text))
    assert cfg.COMPAT.SCHEDULE_AFTER_WARMUP and cfg.COMPAT.ONE_CHANNEL_NON_LOCAL and cfg.COMPAT.RERANK
    assert cfg.DATASETS.NAMES == ("MSMT17:combine_val=False",) and cfg.TEST.RERANK.ENABLED
    assert "COMPAT" not in explain(CONFIGS / "MSMT17/AGW_R50.yml", options).modern


@pytest.mark.usefixtures("no_network")
def test_modern_form_leaves_out_what_fastreid_passes_over(tmp_path: Path) -> None:
    options = [LOSSES, "('CrossEntropyLoss', 'FocalLoss')", "MODEL.LOSSES.CIRCLE.GAMMA", "64", "TEST.METRIC", "jaccard"]
    cfg = load_config(write(tmp_path, explain(write(tmp_path, ""), options).modern))
    assert cfg.MODEL.LOSSES.NAME == ("CrossEntropyLoss",) and cfg.MODEL.LOSSES.CIRCLE.GAMMA == 128
    assert cfg.TEST.METRIC == "cosine" and cfg.TEST.RERANK.ENABLED and cfg.TEST.RERANK.LAMBDA == 0
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == ("Market1501",)


def test_steps_come_when_the_report_says(tmp_path: Path) -> None:
    old = old_config(tmp_path, ["SOLVER.WARMUP_ITERS", 2000, "SOLVER.STEPS", [40, 90], "SOLVER.BASE_LR", 1.0])
    times = timeline(old)
    assert times is not None and (times.steps_per_epoch, times.shift) == (202, 9)
    (finding,) = of_training.schedule_after_warmup(old)
    assert "after epochs 49, 99" in finding.text
    cfg = old.cfg.clone()
    cfg.defrost()
    cfg.merge_from_mapping(finding.as_fastreid)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_lr_scheduler(cfg, optimizer, times.steps_per_epoch)
    rates = []
    for epoch in (48, 49, 98, 99):
        schedule.load_state_dict({"last_epoch": epoch * times.steps_per_epoch})
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    "name", [name for name in TRAINING_SETS if name not in ("CUHK03", "MSMT17") and "Vehicle" not in name]
)
def test_sizes_are_the_published_ones(name: str) -> None:
    # Without its files.
    dataset = object.__new__(DATASETS.get(name))
    dataset.size, dataset.distractors_500k = "small", False
    counts = dataset.published()
    known = TRAINING_SETS[name]
    assert known.images == counts["train_images"] and known.identities in (0, counts.get("train_ids"))


def test_network_that_cannot_be_built_is_told(tmp_path: Path) -> None:
    explanation = explain(write(tmp_path, "MODEL:\n  BACKBONE:\n    NAME: build_mine_backbone\n"))
    text = report(explanation)
    assert "Does not run here" in text and "build_mine_backbone" in explanation.not_here[0]


def test_student_is_built_without_its_teachers(tmp_path: Path) -> None:
    options = ["MODEL.META_ARCHITECTURE", "Distiller", "KD.MODEL_CONFIG", "['a.yml']", "KD.MODEL_WEIGHTS", "['b.pth']"]
    explanation = explain(write(tmp_path, ""), [*options, "MODEL.BACKBONE.DEPTH", "18x"])
    assert not explanation.not_here and "512 values" in explanation.words["Head"]
    assert "divergence from the teachers" in explanation.words["Losses"]


def test_weights_that_fit_and_that_do_not() -> None:
    network = Network({"backbone.NL_2.0.theta.weight": (256, 512, 1, 1), "heads.weight": (702, 2048), "a": (1,)})
    theta = {"module.backbone.NL_2.0.theta.weight": torch.zeros(1, 512, 1, 1)}
    told = fit(network, {**theta, "heads.weight": torch.zeros(751, 2048), "b": torch.zeros(1)})
    assert told[0].startswith("0 of the network's 3 tensors")
    assert "751 classes, here 702" in told[1] and "ONE_CHANNEL_NON_LOCAL" in told[2]
    assert [line.split(":")[0] for line in told[3:]] == [
        "1 of another shape",
        "1 missing in the checkpoint",
        "1 not in the network",
    ]
    assert len(fit(network, {name: torch.zeros(shape) for name, shape in network.shapes.items()})) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_BASE_: gone.yml", r"no config file .*gone\.yml, the _BASE_ of .*old\.yml"),
        ("_BASE_: old.yml", "is its own _BASE_"),
        ("_BASE_: 3", "_BASE_ in .* is 3; it takes a file"),
        ("_BASE_: https://somewhere/a.yml", "download that file"),
        ("a: [1\nb: 2", "is not valid YAML"),
        ("PROJECTS: [msinet]", "it is a config of this toolbox"),
        ("a: \x00", "is no text file"),
        ("- 1", "must hold keys and values, not a list"),
    ],
)
def test_broken_files(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_old_config(write(tmp_path, text))


@pytest.mark.usefixtures("no_network")
def test_losses_of_a_model_of_the_users_are_kept(tmp_path: Path) -> None:
    options = ["MODEL.META_ARCHITECTURE", "Mine", LOSSES, "('CrossEntropyLoss', 'MyLoss')"]
    explanation = explain(write(tmp_path, ""), options)
    assert [finding.key for finding in explanation.mistakes] == ["MODEL.META_ARCHITECTURE"]
    assert "NAME: [CrossEntropyLoss, MyLoss]" in explanation.modern and "MyLoss" in explanation.words["Losses"]


def test_dumped_config_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "DATASETS:\n  NAMES: !!python/tuple [DukeMTMC]\nCOMPUTED_WIDTH: 3\n")
    old = read_old_config(path)
    assert old.cfg.DATASETS.NAMES == ("DukeMTMC",) and not old.unknown and old.images == 16_522
