"""Loading, merging and refusing configs."""

import re
from pathlib import Path

import pytest
import yaml

from fastreid_ext.config import CfgNode, ConfigError, configurable, get_cfg, load_config
from fastreid_ext.config.spec import parse_options, parse_spec
from fastreid_ext.registry import RegistryError

REWEIGHT = ["DATALOADER.SAMPLER_TRAIN", "SetReWeightSampler", "DATASETS.NAMES", ("PKU", "VIPeR")]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_base_chain_is_overwritten_by_the_file_and_that_by_options(tmp_path: Path) -> None:
    write(tmp_path, "a.yml", "SOLVER: {MAX_EPOCH: 5, BASE_LR: 0.1, GAMMA: 0.5}")
    write(tmp_path, "sub/b.yml", "_BASE_: ../a.yml\nSOLVER: {MAX_EPOCH: 6}")
    path = write(tmp_path, "sub/c.yml", "_BASE_: b.yml\nSOLVER: {BASE_LR: 0.2}")
    cfg = load_config(path, ["SOLVER.BASE_LR", "3e-1"])
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA) == (6, 0.3, 0.5)
    assert cfg.is_frozen()


def test_of_several_bases_later_ones_win(tmp_path: Path) -> None:
    write(tmp_path, "model.yml", "SOLVER: {MAX_EPOCH: 5, BASE_LR: 0.1, GAMMA: 0.5}\nPROJECTS: ['msinet']")
    write(tmp_path, "data/b.yml", "SOLVER: {MAX_EPOCH: 6, BASE_LR: 0.2}\nDATASETS: {NAMES: VeRi}\nPROJECTS: []")
    cfg = load_config(write(tmp_path, "c.yml", "_BASE_: [model.yml, data/b.yml]\nSOLVER: {MAX_EPOCH: 7}"))
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA) == (7, 0.2, 0.5)
    assert cfg.DATASETS.NAMES == ("VeRi",) and cfg.PROJECTS == ["msinet"]
    cfg = load_config(write(tmp_path, "d.yml", "_BASE_: [data/b.yml, model.yml]"))
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR) == (5, 0.1)
    assert load_config(write(tmp_path, "e.yml", "_BASE_: []")) == load_config()


def test_a_base_that_two_bases_share_overwrites_neither(tmp_path: Path) -> None:
    write(tmp_path, "root.yml", "SOLVER: {MAX_EPOCH: 5, BASE_LR: 0.1, GAMMA: 0.5}")
    write(tmp_path, "a.yml", "_BASE_: root.yml\nSOLVER: {MAX_EPOCH: 6}")
    write(tmp_path, "b.yml", "_BASE_: [root.yml]\nSOLVER: {BASE_LR: 0.2}")
    cfg = load_config(write(tmp_path, "c.yml", "_BASE_: [a.yml, b.yml]"))
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA) == (6, 0.2, 0.5)


def test_a_file_may_not_be_its_own_base(tmp_path: Path) -> None:
    write(tmp_path, "a.yml", "_BASE_: b.yml")
    with pytest.raises(ConfigError, match="its own _BASE_"):
        load_config(write(tmp_path, "b.yml", "_BASE_: a.yml"))
    write(tmp_path, "plain.yml", "")
    with pytest.raises(ConfigError, match="its own _BASE_"):
        load_config(write(tmp_path, "c.yml", "_BASE_: [plain.yml, c.yml]"))


@pytest.mark.parametrize("base", ["3", "{a: b}", "[a.yml, 3]", "['']"])
def test_base_is_a_file_or_several(tmp_path: Path, base: str) -> None:
    write(tmp_path, "a.yml", "")
    with pytest.raises(ConfigError, match=r"_BASE_ in .*bad.yml is .*it takes a file or a list of files"):
        load_config(write(tmp_path, "bad.yml", f"_BASE_: {base}"))


def test_unknown_key_names_file_and_close_matches(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yml", "SOLVER: {MAX_EPOCHS: 5}")
    with pytest.raises(ConfigError, match=r"SOLVER.MAX_EPOCHS in .*a.yml. Did you mean SOLVER.MAX_EPOCH"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"Did you mean .*MODEL.LOSSES.CE.EPSILON"):
        load_config("", ["EPSILON", 0.1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["SOLVER.MAX_EPOCH"], "no value"),
        (["SOLVER.MAX_EPOCH", "many"], "takes an int"),
        (["SOLVER.MAX_EPOCH", 2.5], "takes an int"),
        (["SOLVER.NESTEROV", 1], "takes a bool"),
        (["SOLVER", 1], "is a section"),
        (["MODEL.HEADS.NECK_FEAT", "middle"], "NECK_FEAT is 'middle'; choose one of before, after"),
        (["SOLVER.IMS_PER_BATCH", 6, "DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler"], "whole identities"),
        (["SOLVER.IMS_PER_BATCH", 6, "SOLVER.ACCUMULATION_STEPS", 4], "not a multiple"),
        (["SOLVER.STEPS", [9, 3]], "must rise"),
        (["SOLVER.SCHED", "CosineAnnealingLR", "SOLVER.DELAY_EPOCHS", 120], "leaves no epoch"),
        (["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "fp16", "MODEL.DEVICE", "cpu"], "needs a GPU"),
        (["KD.EMA.ENABLED", True], "only META_ARCHITECTURE Distiller has teachers"),
        (["KD.MODEL_CONFIG", ["a"], "KD.MODEL_WEIGHTS", ["a"]], "only META_ARCHITECTURE Distiller has teachers"),
        (["KD.MODEL_CONFIG", ["a", "b"], "KD.MODEL_WEIGHTS", ["a"]], "names 2 teachers and KD.MODEL_WEIGHTS 1"),
        (["MODEL.META_ARCHITECTURE", "Distiller"], "a Distiller needs a teacher"),
        (["KD.TEMPERATURE", 0.0], "KD.TEMPERATURE is 0.0; it must be positive"),
        (["KD.EMA.MOMENTUM", 1.5], "KD.EMA.MOMENTUM is 1.5; it must be between 0 and 1"),
        (["TEST.RERANK.LAMBDA", 1.5], "TEST.RERANK.LAMBDA is 1.5; it must be between 0 and 1"),
        (["COMPAT.RERANK", True, "TEST.RERANK.VARIANT", "released"], "drop one of them"),
        (
            ["COMPAT.ONE_CHANNEL_NON_LOCAL", True, "MODEL.BACKBONE.NON_LOCAL_CHANNELS", 4],
            "NON_LOCAL_CHANNELS is 4: drop one of them",
        ),
        (["COMPAT.SCHEDULE_AFTER_WARMUP", True, "SOLVER.SCHED_INTERVAL", "iteration"], "counts whole epochs"),
        (["TEST.EVALUATOR", "ClasEvaluator", "TEST.BEST_METRIC", "Acc@1", "TEST.ENSEMBLE", ["a.pth"]], "of one model"),
        (["TEST.RERANK.VARIANT", "original"], "choose one of paper, released, fastreid"),
        (["TEST.AQE.QE_K", 0], "TEST.AQE.QE_K is 0; it must be at least 1"),
        (["TEST.AQE.ALPHA", -1.0], "must be a number not below 0"),
        (["TEST.NMI.ENABLED", True], "take TEST.EVALUATOR RetrievalEvaluator"),
        (["TEST.RECALLS", ["a"]], "each at least 1"),
        (["TEST.RECALLS", [1.5]], "each at least 1"),
        (["DATASETS.TESTS", ("SOP", "SOP")], "DATASETS.TESTS names SOP twice"),
        (["TEST.RECALLS", [0, 1]], "each at least 1"),
        (["TEST.BEST_METRIC", "Recall@1"], "choose one of mAP, mINP, Rank-1"),
        (["TEST.EVALUATOR", "RetrievalEvaluator", "TEST.BEST_METRIC", "Recall@3"], "R-precision, NMI, Recall@1"),
        (["TEST.EVALUATOR", "RetrievalEvaluator", "TEST.BEST_METRIC", "NMI"], "TEST.NMI.ENABLED is off"),
        (["INPUT.SIZE_TRAIN", [256]], "height and a width"),
        (["INPUT.CROP.SIZE", [224]], r"CROP.SIZE is \[224\]; it takes a height and a width"),
        (["DATASETS.NAMES", ()], "nothing to train on"),
        (["DATALOADER.SET_WEIGHT", [1]], r"SET_WEIGHT is \[1\], but TrainingSampler weighs no data sets"),
        (["DATALOADER.SAMPLER_TRAIN", "SetReWeightSampler"], "0 weights for the 1 data sets .*SynthReID"),
        ([*REWEIGHT, "DATALOADER.SET_WEIGHT", [1, 1, 1]], "3 weights for the 2 data sets .*PKU, VIPeR"),
        ([*REWEIGHT, "DATALOADER.SET_WEIGHT", [1, -1]], "none below 0 and not all 0"),
        ([*REWEIGHT, "DATALOADER.SET_WEIGHT", [0, 0.0]], "none below 0 and not all 0"),
        ([*REWEIGHT, "DATALOADER.SET_WEIGHT", ["a", 1]], "it takes numbers"),
    ],
)
def test_refuses_what_cannot_be_meant(options: list[object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("", options)


def test_weights_of_data_sets() -> None:
    assert load_config("", [*REWEIGHT, "DATALOADER.SET_WEIGHT", [1, 0.5]]).DATALOADER.SET_WEIGHT == [1, 0.5]
    first = ["SOLVER.FIRST_STAGE.EPOCHS", 1, "SOLVER.FIRST_STAGE.SAMPLER_TRAIN", "SetReWeightSampler"]
    load_config("", [*first, "DATALOADER.SET_WEIGHT", [1]])


def test_converts_only_what_loses_nothing() -> None:
    cfg = load_config(
        "", ["SOLVER.BASE_LR", 1, "DATASETS.NAMES", "Market1501", "SOLVER.STEPS", "(4, 9)", "MODEL.WEIGHTS", None]
    )
    assert cfg.SOLVER.BASE_LR == 1.0 and isinstance(cfg.SOLVER.BASE_LR, float)
    assert cfg.DATASETS.NAMES == ("Market1501",)
    assert cfg.SOLVER.STEPS == [4, 9]
    assert cfg.MODEL.WEIGHTS == ""


def test_project_keys_exist_only_with_the_project() -> None:
    with pytest.raises(ConfigError, match="name the project in PROJECTS"):
        load_config("", ["MODEL.MSINET.GENOTYPE", "MSINet-S"])
    cfg = load_config("", ["PROJECTS", "['msinet']", "MODEL.MSINET.GENOTYPE", "MSINet-S"])
    assert cfg.PROJECTS == ["msinet"] and cfg.MODEL.MSINET.GENOTYPE == "MSINet-S"
    with pytest.raises(RegistryError, match=r"unknown project 'msinett' in PROJECTS. Did you mean msinet"):
        load_config("", ["PROJECTS", "['msinett']"])


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "missing.yml")
    with pytest.raises(ConfigError, match="Did you mean msinet/msmt"):
        load_config("msinet/msmtt")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(write(tmp_path, "broken.yml", "SOLVER: {"))
    with pytest.raises(ConfigError, match="keys and values"):
        load_config(write(tmp_path, "list.yml", "- 1"))
    with pytest.raises(ConfigError, match=r"cannot read config .*gone.yml"):
        load_config(write(tmp_path, "orphan.yml", "_BASE_: gone.yml"))
    with pytest.raises(ConfigError, match=r"cannot read config .*gone.yml, named by .*orphans.yml"):
        load_config(write(tmp_path, "orphans.yml", "_BASE_: [gone.yml]"))


def test_short_names_find_shipped_configs() -> None:
    assert load_config("msinet/msmt").DATASETS.NAMES == ("MSMT17",)
    assert load_config("Market1501/bagtricks_R50").SOLVER.STEPS == [40, 90]


def test_dumped_config_loads_to_the_same(tmp_path: Path) -> None:
    cfg = load_config("msinet/quickstart")
    again = load_config(write(tmp_path, "config.yaml", cfg.dump()))
    assert again == cfg
    assert yaml.safe_load(cfg.dump())["MODEL"]["MSINET"]["GENOTYPE"] == "MSINet"


def test_frozen_config_refuses_merges() -> None:
    cfg = load_config()
    with pytest.raises(ConfigError, match="frozen"):
        cfg.merge_from_list(["SEED", 3])


def test_get_cfg_gives_copies() -> None:
    cfg = get_cfg()
    cfg.SOLVER.STEPS.append(99)
    cfg.MODEL.PIXEL_MEAN[0] = 0.0
    assert 99 not in get_cfg().SOLVER.STEPS
    assert get_cfg().MODEL.PIXEL_MEAN[0] != 0.0


class Part:
    @configurable
    def __init__(self, *, width: int, depth: int = 1) -> None:
        self.width, self.depth = width, depth

    @classmethod
    def from_config(cls, cfg: CfgNode, factor: int = 1) -> dict[str, int]:
        return {"width": cfg.WIDTH * factor}


def test_configurable_takes_config_or_arguments() -> None:
    cfg = CfgNode({"WIDTH": 3})
    assert Part(cfg).width == 3
    assert Part(cfg, factor=2).width == 6
    assert Part(cfg, depth=4).depth == 4
    assert Part(width=5).width == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["DATALOADER.STORE", "disk"], "DATALOADER.STORE is 'disk'; choose one of auto, device, pinned, mmap, stream"),
        (["DATALOADER.NUM_WORKERS", -1], "DATALOADER.NUM_WORKERS is -1; it must be at least 0"),
        (["INPUT.REA.MODE", "noise"], "INPUT.REA.MODE is 'noise'; choose one of const, rand, pixel"),
        (
            ["INPUT.PADDING.ENABLED", True, "INPUT.PADDING.MODE", "reflect", "INPUT.PADDING.SIZE", 128],
            "INPUT.PADDING.SIZE is 128; MODE reflect needs at most 127 for 256x128",
        ),
    ],
)
def test_the_loaders_keys_are_checked_first(options: list[object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config("", options)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("Market1501", ("Market1501", [], {})),
        ("SynthReID:kind=vehicle,seed=3", ("SynthReID", [], {"kind": "vehicle", "seed": 3})),
        ("MarketLayout:/a,b/c:d", ("MarketLayout", ["/a,b/c:d"], {})),
        ("ImageList:my.csv, strict=false", ("ImageList", ["my.csv"], {"strict": False})),
        ("SynthReID:size=(64, 32),seed=1", ("SynthReID", [], {"size": (64, 32), "seed": 1})),
    ],
)
def test_parse_spec(spec: str, expected: tuple[str, list[object], dict[str, object]]) -> None:
    assert parse_spec(spec) == expected


def test_parse_options_refuses_what_is_no_option() -> None:
    assert parse_options(["betas=(0.9, 0.99)"]) == {"betas": (0.9, 0.99)}
    with pytest.raises(ConfigError, match="not of the form key=value"):
        parse_options(["amsgrad"])
