"""Whole searches of a few steps: files, resuming, several processes, the command line."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.data.build import build_test_loader
from fastreid_ext.data.samplers import SamplerError
from fastreid_ext.engine import NonFiniteLossError
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.cli import search_arch, train
from fastreid_ext.engine.hooks import Hook
from fastreid_ext.engine.launch import launch
from fastreid_ext.engine.searches import build_architecture_search
from fastreid_ext.evaluation.inference import extract_features
from fastreid_ext.projects.msinet import MSINet, TwinsContrastiveSearch
from fastreid_ext.projects.msinet.search.outcome import training_config
from fastreid_ext.utils.dist import all_gather_objects, get_world_size

MakeCfg = Callable[..., CfgNode]


def options(data: Path, output: Path, **more: Any) -> list[Any]:
    values = {
        "DATASETS.NAMES": (f"MarketLayout:{data}",),
        "OUTPUT_DIR": str(output),
        "MODEL.DEVICE": "cpu",
        "INPUT.SIZE_TRAIN": [32, 16],
        "INPUT.SIZE_TEST": [32, 16],
        "INPUT.PADDING.SIZE": 2,
        "DATALOADER.NUM_INSTANCE": 2,
        "DATALOADER.NUM_WORKERS": 1,
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.MAX_EPOCH": 2,
        "SOLVER.WARMUP_ITERS": 2,
        "SOLVER.CHECKPOINT_PERIOD": 1,
        "SOLVER.LOG_PERIOD": 1,
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    return [part for pair in values.items() for part in pair]


@pytest.fixture
def make_cfg(market_folder: Callable[..., Path], tmp_path: Path) -> MakeCfg:
    data = market_folder(train_ids=10, shots=4)

    def make(output: str = "run", **more: Any) -> CfgNode:
        return load_config("msinet/search_msmt", options(data, tmp_path / output, **more))

    return make


def search(cfg: CfgNode, *, resume: bool = False, hook: Hook | None = None) -> TwinsContrastiveSearch:
    trainer = build_architecture_search(cfg)
    assert isinstance(trainer, TwinsContrastiveSearch)
    if hook is not None:
        hook.trainer = trainer.loop
        trainer.loop.hooks.append(hook)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


class PowerCut(Hook):
    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_step(self) -> None:
        if self.trainer.iteration == self.iteration:
            raise RuntimeError("power cut")


def assert_equal(first: Any, second: Any, where: str = "") -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for place, pair in enumerate(zip(first, second, strict=True)):
            assert_equal(*pair, f"{where}/{place}")
    else:
        assert first == second, where


def test_a_search_and_a_training_of_what_it_found(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    trainer = search(cfg)
    folder = Path(cfg.OUTPUT_DIR)
    found = json.loads((folder / "genotype.json").read_text())
    assert found["genotype"] == trainer.model.backbone.genotype() and len(found["genotype"]) == 12
    assert MSINet(found["genotype"])
    history = json.loads((folder / "architecture.json").read_text())
    assert history["operations"] == ["A", "E", "G", "N"] and history["epochs"] == [0, 1, 2]
    weights = torch.tensor(history["weights"])
    assert weights.shape == (3, 12, 4)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 12))
    assert (weights[0] != weights[2]).any()
    assert (folder / "architecture.png").read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all({"loss_tcm", "validation_loss_tcm"} <= line.keys() for line in lines)
    assert found["genotype"] in trainer.report() and str(folder / "train.yml") in trainer.report()
    trained = load_config(folder / "train.yml")
    assert found["genotype"] == trained.MODEL.MSINET.GENOTYPE
    assert trained.DATASETS.TESTS == cfg.DATASETS.NAMES
    assert (trained.INPUT.SIZE_TRAIN, trained.SOLVER.BASE_LR) == ([32, 16], 0.065)
    few = ["SOLVER.MAX_EPOCH", "1", "SOLVER.IMS_PER_BATCH", "8", "SOLVER.WARMUP_ITERS", "2", "MODEL.DEVICE", "cpu"]
    train.main(["--config-file", str(folder / "train.yml"), *few])
    (metrics,) = json.loads((folder / "trained" / "results.json").read_text()).values()
    assert 0 < metrics["mAP"] <= 100


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "SOLVER__ACCUMULATION_STEPS": 2,
            "SOLVER__CLIP_GRADIENTS__ENABLED": True,
            "SOLVER__CLIP_GRADIENTS__CLIP_VALUE": 0.5,
        },
        {"TEST__PRECISE_BN__ENABLED": True, "TEST__PRECISE_BN__NUM_ITER": 2, "TEST__EVAL_PERIOD": 1},
    ],
    ids=["plain", "accumulation-clipping", "precise-bn"],
)
def test_a_killed_search_resumes_to_the_same_bits(make_cfg: MakeCfg, more: dict[str, Any]) -> None:
    whole, cut = (make_cfg(name, SOLVER__MAX_EPOCH=3, **more) for name in ("whole", "cut"))
    steps = search(whole).loop.iters_per_epoch
    with pytest.raises(RuntimeError, match="power cut"):
        search(cut, hook=PowerCut(steps + 1))
    search(cut, resume=True)
    first, second = (read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth") for cfg in (whole, cut))
    first.pop("config"), second.pop("config")
    assert "architecture_optimizer" in first and first["architecture_optimizer"]["state"]
    assert_equal(first, second)
    histories = [(Path(cfg.OUTPUT_DIR) / "architecture.json").read_text() for cfg in (whole, cut)]
    assert histories[0] == histories[1]


def test_a_finished_search_tells_its_result_again(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(SOLVER__MAX_EPOCH=1)
    genotype = search(cfg).model.backbone.genotype()
    for name in ("genotype.json", "train.yml", "architecture.png"):
        (Path(cfg.OUTPUT_DIR) / name).unlink()
    assert search(cfg, resume=True).model.backbone.genotype() == genotype
    assert json.loads((Path(cfg.OUTPUT_DIR) / "genotype.json").read_text())["genotype"] == genotype
    assert (Path(cfg.OUTPUT_DIR) / "train.yml").is_file() and (Path(cfg.OUTPUT_DIR) / "architecture.png").is_file()
    with pytest.raises(ConfigError, match=r"SEARCH.ARCH.SPLIT: \[60, 80\] -> \[50, 50\]"):
        search(make_cfg(SOLVER__MAX_EPOCH=1, SEARCH__ARCH__SPLIT=[50, 50]), resume=True)


def test_the_architecture_follows_the_schedule_of_the_weights(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(SOLVER__WARMUP_ITERS=4, SOLVER__WARMUP_FACTOR=0.1, SOLVER__STEPS=[1, 2], SOLVER__MAX_EPOCH=3)
    trainer = TwinsContrastiveSearch(cfg)
    rates: list[tuple[float, float]] = []

    class Watch(Hook):
        def before_step(self) -> None:
            optimizers = trainer.optimizer, trainer.architecture_optimizer
            rates.append(tuple(optimizer.param_groups[0]["lr"] for optimizer in optimizers))  # type: ignore[arg-type]

    trainer.loop.register_hooks([Watch()])
    trainer.train()
    assert len({round(architecture, 9) for _, architecture in rates}) > 4
    for weights, architecture in rates:
        assert architecture == pytest.approx(weights * cfg.SEARCH.ARCH.BASE_LR / cfg.SOLVER.BASE_LR)


def test_memories_start_with_the_centroids_of_the_untrained_network(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    seen: dict[str, torch.Tensor] = {}

    class Look(Hook):
        def before_train(self) -> None:
            for split in ("train", "validation"):
                seen[split] = trainer.model.supervision.memory(split).centroids.clone()
            raise RuntimeError("seen")

    trainer = TwinsContrastiveSearch(cfg)
    look = Look()
    trainer.loop.register_hooks([look])
    with pytest.raises(RuntimeError, match="seen"):
        trainer.train()
    for split, data in (("train", trainer.data), ("validation", trainer.validation_data)):
        assert seen[split].shape == (data.num_classes, 512)
        torch.testing.assert_close(seen[split].norm(dim=1), torch.ones(data.num_classes))
        loader = build_test_loader(cfg, data.samples, device="cpu")
        features = normalize(extract_features(trainer.model, loader).values)
        of_images = torch.tensor([sample.pid for sample in data.samples])
        means = torch.stack([features[of_images == pid].mean(0) for pid in range(data.num_classes)])
        torch.testing.assert_close(seen[split], normalize(means))


def test_softmax_supervision_shares_a_classifier(make_cfg: MakeCfg) -> None:
    trainer = search(make_cfg(SOLVER__MAX_EPOCH=1, SEARCH__ARCH__SUPERVISION="softmax", SEARCH__ARCH__SPLIT=[100, 100]))
    assert trainer.model.supervision.classifier.weight.shape == (10, 512)
    assert {sample.pid for sample in trainer.data.samples} == {s.pid for s in trainer.validation_data.samples}
    assert "loss_softmax" in (Path(trainer.cfg.OUTPUT_DIR) / "metrics.jsonl").read_text()


def in_two_processes(cfg: CfgNode) -> None:
    torch.set_num_threads(1)
    assert get_world_size() == 2
    trainer = search(cfg)
    state = trainer.model.state_dict()
    shared = {name: state[name] for name in state if "architecture" in name or "centroids" in name or "weight" in name}
    assert len(shared) > 100
    for other in all_gather_objects(shared):
        assert_equal(shared, other)


def test_processes_agree_on_architecture_memories_and_weights(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(SOLVER__MAX_EPOCH=1)
    launch(in_two_processes, (cfg,), num_processes=2, device="cpu")
    assert json.loads((Path(cfg.OUTPUT_DIR) / "architecture.json").read_text())["epochs"] == [0, 1]


def test_bfloat16(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(SOLVER__MAX_EPOCH=1, SOLVER__AMP__ENABLED=True, SOLVER__AMP__DTYPE="bf16")
    weights = search(cfg).model.backbone.architecture_weights()
    assert torch.isfinite(weights).all()


def test_a_loss_that_is_not_finite_on_the_validation_split(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    trainer = TwinsContrastiveSearch(cfg)

    class Spoil(Hook):
        def before_step(self) -> None:
            trainer.model.supervision.memory("validation").centroids[:] = torch.nan

    trainer.loop.register_hooks([Spoil()])
    with pytest.raises(NonFiniteLossError, match=r"validation loss_tcm = nan; images: .*\.jpg"):
        trainer.train()
    assert torch.isfinite(trainer.model.backbone.architecture_weights()).all()


def test_mistakes_are_told_before_the_search(make_cfg: MakeCfg) -> None:
    with pytest.raises(ConfigError, match="leaves no identity for the validation split"):
        TwinsContrastiveSearch(make_cfg(SEARCH__ARCH__SPLIT=[97, 3]))
    with pytest.raises(SamplerError, match="needs 4 identities a batch"):
        TwinsContrastiveSearch(make_cfg(SEARCH__ARCH__SPLIT=[20, 80]))
    with pytest.raises(ConfigError, match=r"NUM_CLASSES is \[3, 4\], but the splits have \[6, 8\] identities"):
        TwinsContrastiveSearch(make_cfg(SEARCH__ARCH__NUM_CLASSES=[3, 4]))
    with pytest.raises(ConfigError, match=r"TRAIN_CONFIG cannot be used: no config file 'msinet/msm'.*msinet/msmt"):
        TwinsContrastiveSearch(make_cfg(SEARCH__ARCH__TRAIN_CONFIG="msinet/msm"))
    with pytest.raises(ConfigError, match="trains build_resnet_backbone, which has no genotype"):
        TwinsContrastiveSearch(make_cfg(SEARCH__ARCH__TRAIN_CONFIG="Base-bagtricks"))
    with pytest.raises(SamplerError, match=r"validation split: .* needs 4 identities"):
        TwinsContrastiveSearch(make_cfg(SEARCH__ARCH__SPLIT=[80, 20]))
    with pytest.raises(ConfigError, match=r"there is no SEARCH.ARCH"):
        build_architecture_search(load_config("Base-bagtricks"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SEARCH__ARCH__SPLIT", [100, 0], "each above 0"),
        ("SEARCH__ARCH__SPLIT", ["60", "80"], "whole numbers"),
        ("SEARCH__ARCH__SUPERVISION", "triplet", "choose one of tcm, softmax"),
        ("SEARCH__ARCH__SUPERVISION", "softmax", r"set SEARCH.ARCH.SPLIT to \[100, 100\]"),
        ("SEARCH__ARCH__OPERATIONS", ["N"], "leaves no choice"),
        ("SEARCH__ARCH__OPERATIONS", ["N", "Q"], "has 'Q', which is no interaction.*A, E, G, N"),
        ("SEARCH__ARCH__BETAS", [0.5], "takes two numbers"),
        ("SEARCH__ARCH__BASE_LR", -1.0, "SEARCH.ARCH.BASE_LR is -1.0; it must be above 0"),
        ("SEARCH__ARCH__TEMPERATURE", 0.0, "SEARCH.ARCH.TEMPERATURE is 0.0"),
        ("SEARCH__ARCH__MEMORY_MOMENTUM", 1.5, "from 0 to 1"),
        ("MODEL__BACKBONE__NAME", "MSINet", "needs MSISupernet: is this a config for tools/train_net.py"),
        ("SOLVER__EMA__ENABLED", True, "averages weights"),
        ("MODEL__META_ARCHITECTURE", "Baseline", "the search needs SearchNetwork"),
    ],
)
def test_options_are_checked_before_data_are_read(key: str, value: Any, message: str) -> None:
    nowhere = {"DATASETS.NAMES": ("MarketLayout:/nowhere",), key.replace("__", "."): value}
    cfg = load_config("msinet/search_msmt", [part for pair in nowhere.items() for part in pair])
    with pytest.raises(ConfigError, match=message):
        TwinsContrastiveSearch(cfg)


def test_a_broken_matplotlib_costs_only_the_picture(make_cfg: MakeCfg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    cfg = make_cfg(SOLVER__MAX_EPOCH=1)
    search(cfg)
    names = {path.name for path in Path(cfg.OUTPUT_DIR).iterdir()}
    assert {"genotype.json", "train.yml", "architecture.json"} <= names and "architecture.png" not in names


def test_a_search_of_a_few_steps_is_called_undecided(make_cfg: MakeCfg, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="fastreid_ext"):
        trainer = search(make_cfg(SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_ITERS=50))
    assert "undecided: in 12 of 12 layers" in trainer.report()
    assert "ends before its learning rate is reached" in caplog.text
    for logits in trainer.model.backbone.architecture_parameters():
        logits.data[2] += 1
    assert "undecided" not in trainer.report()


def test_the_training_warms_up_for_ten_epochs_of_the_searched_data(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    recipe = load_config("msinet/msmt")
    found = training_config(cfg, "MSINet", images=640)
    assert found["SOLVER"]["WARMUP_ITERS"] == 100
    own = load_config("msinet/search_msmt")
    assert training_config(own, "MSINet", images=640)["SOLVER"]["WARMUP_ITERS"] == recipe.SOLVER.WARMUP_ITERS


def test_train_net_does_not_train_a_search(make_cfg: MakeCfg, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["--config-file", "msinet/search_msmt", "OUTPUT_DIR", make_cfg().OUTPUT_DIR])
    assert "SearchNetwork is trained by tools/search_arch.py" in capsys.readouterr().err


def test_command_line(
    make_cfg: MakeCfg, market_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(word) for word in options(tmp_path / "market", tmp_path / "cli", SOLVER__MAX_EPOCH=1)]
    search_arch.main(["--config-file", "msinet/search_msmt", *given])
    shown = capsys.readouterr().out
    assert "train it: python tools/train_net.py --config-file" in shown and "|      12 |" in shown
    with pytest.raises(SystemExit) as ended:
        search_arch.main(["--config-file", "msinet/search_msmt", *given, "SEARCH.ARCH.SPLITS", "[60, 80]"])
    assert ended.value.code == 1
    assert "Did you mean SEARCH.ARCH.SPLIT" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        search_arch.main([*given, "--resume"])
    assert "options such as --resume go before the first KEY" in capsys.readouterr().err
