"""Whole trainings in this process: files, resuming, interrupts, bad images, full disks."""

import errno
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.engine import DefaultTrainer, NonFiniteLossError
from fastreid_ext.engine.checkpoint import Checkpointer, CheckpointError, load_weights, read_checkpoint
from fastreid_ext.engine.hooks import Hook, TrainingInterrupted
from fastreid_ext.evaluation.evaluator import UnreadableImagesError
from fastreid_ext.registry import RegistryError
from fastreid_ext.utils.logger import setup_logger

MakeCfg = Callable[..., CfgNode]


def final(cfg: CfgNode) -> dict[str, Any]:
    return read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")


def assert_equal_runs(one: CfgNode, other: CfgNode) -> None:
    """Bit-equal weights, optimizer states and metrics."""
    a, b = final(one), final(other)
    assert a["iteration"] == b["iteration"]
    assert all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])
    for number, state in a["optimizer"]["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(b["optimizer"]["state"][number][key]))
    results = [json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text()) for cfg in (one, other)]
    assert results[0] == results[1]


class StopAt(Hook):
    """Does something when so many steps are done."""

    def __init__(self, iteration: int, action: Callable[[], Any]) -> None:
        self.iteration, self.action = iteration, action

    def after_step(self) -> None:
        if self.trainer.iteration == self.iteration:
            self.action()


def train(cfg: CfgNode, *, resume: bool | str = False, hook: Hook | None = None) -> DefaultTrainer:
    trainer = DefaultTrainer(cfg)
    if hook is not None:
        hook.trainer = trainer.loop
        trainer.loop.hooks.insert(0, hook)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def test_output_folder(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(TEST__EVAL_UNTRAINED=True)
    train(cfg)
    folder = Path(cfg.OUTPUT_DIR)
    names = {path.name.split(".tfevents")[0] if "tfevents" in path.name else path.name for path in folder.iterdir()}
    assert names >= {
        *("config.yaml", "metrics.jsonl", "results.json", "last_checkpoint", "events.out"),
        *("model_0001.pth", "model_best.pth", "model_final.pth"),
    }
    assert not any(name.endswith(".tmp") for name in names)
    (metrics,) = json.loads((folder / "results.json").read_text()).values()
    assert {"mAP", "mINP", "Rank-1", "Rank-5", "Rank-10", "untrained", "protocol"} <= set(metrics)
    assert 0 < metrics["mAP"] <= 100 and metrics["queries"] == 8
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "total_loss" in line] == [1, 3, 5, 7, 9, 11]
    assert any(key.endswith("/mAP") for line in lines for key in line)
    assert (folder / "last_checkpoint").read_text().strip() == "model_final.pth"


@pytest.mark.parametrize("store", ["device", "mmap", "stream"])
@pytest.mark.parametrize("stop", [4, 6])
def test_an_interrupted_run_equals_an_uninterrupted_one(make_cfg: MakeCfg, store: str, stop: int) -> None:
    everything: dict[str, Any] = {
        f"INPUT__{name}": {"ENABLED": True, "PROB": 0.5} for name in ("AUTOAUG", "CJ", "AUGMIX", "RPT")
    }
    everything |= {"INPUT__AFFINE__ENABLED": True, "INPUT__PADDING__ENABLED": True, "SOLVER__EMA__ENABLED": True}
    whole = make_cfg("whole", **everything)
    train(whole)
    cfg = make_cfg("stopped", **everything, DATALOADER__STORE=store, DATALOADER__NUM_WORKERS=2)
    with pytest.raises(TrainingInterrupted):
        train(cfg, hook=StopAt(stop, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    state = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_interrupted.pth")
    assert state["iteration"] == stop
    train(cfg, resume=True)
    assert_equal_runs(whole, cfg)
    lines = [json.loads(line)["iteration"] for line in (Path(cfg.OUTPUT_DIR) / "metrics.jsonl").open()]
    assert lines == sorted(lines)


def test_signal_handlers_are_put_back(make_cfg: MakeCfg) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(make_cfg(SOLVER__MAX_EPOCH=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_crash_resumes_from_the_last_whole_checkpoint(make_cfg: MakeCfg) -> None:
    whole = make_cfg("whole")
    train(whole)
    cfg = make_cfg("crashed")

    def crash() -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(cfg, hook=StopAt(9, crash))
    # The newest file is damaged, as by a failing disk: the one before is taken.
    damaged = Path(cfg.OUTPUT_DIR) / "model_0009.pth"
    damaged.write_bytes((Path(cfg.OUTPUT_DIR) / "model_0001.pth").read_bytes()[:5000])
    (Path(cfg.OUTPUT_DIR) / "last_checkpoint").write_text(damaged.name)
    train(cfg, resume=True)
    assert_equal_runs(whole, cfg)


def test_resuming_a_finished_run_evaluates_it(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    train(cfg)
    before = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text())
    train(cfg, resume=True)
    assert json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text()) == before


def test_resume_says_what_changed_in_the_config(make_cfg: MakeCfg, caplog: pytest.LogCaptureFixture) -> None:
    train(make_cfg(SOLVER__MAX_EPOCH=1))
    with pytest.raises(
        ConfigError, match=r"(?s)cannot be resumed.*MODEL.HEADS.WITH_BNNECK: True -> False.*SEED: 0 -> 1"
    ):
        train(make_cfg(MODEL__HEADS__WITH_BNNECK=False, SEED=1), resume=True)
    train(make_cfg(SOLVER__MAX_EPOCH=2), resume=True)
    assert "SOLVER.MAX_EPOCH: 1 -> 2" in caplog.text


def test_resume_from_a_path_and_from_weights_only(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    train(cfg)
    path = str(Path(cfg.OUTPUT_DIR) / "model_0001.pth")
    again = make_cfg("again")
    train(again, resume=path)
    assert_equal_runs(cfg, again)
    with pytest.raises(ConfigError, match="no checkpoint of a run of ours that can be resumed"):
        train(make_cfg("third"), resume=str(Path(cfg.OUTPUT_DIR) / "model_best.pth"))


def test_weights_of_another_model_are_refused(make_cfg: MakeCfg, tmp_path: Path) -> None:
    cfg = make_cfg()
    model = DefaultTrainer(cfg).model
    with pytest.raises(CheckpointError, match=r"another model: no weight of the backbone fits.*backbone.stem.0.weight"):
        load_weights(model, {"model": {"backbone.stem.0.weight": torch.zeros(3)}})
    weights = dict(model.state_dict())
    name = next(key for key in weights if key.startswith("backbone.conv1"))
    weights[name] = torch.zeros(1, 2, 3)
    report = load_weights(model, weights)
    assert report.other_shape == [f"{name} (1, 2, 3) instead of {tuple(model.state_dict()[name].shape)}"]
    with pytest.raises(CheckpointError, match="does not fit this model"):
        load_weights(model, weights, for_inference=True)
    # A classifier of another number of identities is no obstacle: evaluation does not use it.
    weights = {**model.state_dict(), "heads.weight": torch.zeros(3, 128)}
    assert not load_weights(model, {"model": {f"module.{n}": v for n, v in weights.items()}}, for_inference=True).fits
    for content in (b"", b"not a checkpoint"):
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot read checkpoint .*bad.pth"):
            read_checkpoint(tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"no checkpoint .*gone.pth"):
        read_checkpoint(tmp_path / "gone.pth")


def test_checkpoints_run_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/exploded",)

    torch.save({"model": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


def test_full_disk_leaves_the_old_checkpoint(
    make_cfg: MakeCfg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = make_cfg(SOLVER__MAX_EPOCH=3)
    save = torch.save

    def full_in_second_epoch(state: Any, file: Any) -> None:
        if state["epoch"] == 2:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, file)

    monkeypatch.setattr(torch, "save", full_in_second_epoch)
    train(cfg)
    assert "checkpoint of epoch 2 not saved, the one before is intact" in caplog.text
    assert not (Path(cfg.OUTPUT_DIR) / "model_0002.pth").exists()
    assert read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_0001.pth")["epoch"] == 1
    assert final(cfg)["epoch"] == 3
    assert not list(Path(cfg.OUTPUT_DIR).glob("*.tmp"))


def test_full_disk_at_the_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save("model_final", {"model": torch.ones(2)})
    monkeypatch.setattr(torch, "save", lambda state, file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        checkpointer.save("model_final", {"model": torch.zeros(2)})
    assert torch.equal(read_checkpoint(tmp_path / "model_final.pth")["model"], torch.ones(2))


def test_nan_loss_saves_and_names_the_images(make_cfg: MakeCfg, caplog: pytest.LogCaptureFixture) -> None:
    cfg = make_cfg()
    trainer = DefaultTrainer(cfg)

    def poison() -> None:
        with torch.no_grad():
            trainer.model.heads.weight.fill_(float("nan"))

    hook = StopAt(5, poison)
    hook.trainer = trainer.loop
    trainer.loop.hooks.insert(0, hook)
    with pytest.raises(NonFiniteLossError, match=r"not finite at iteration 5.*bounding_box_train"):
        trainer.train()
    assert read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_nonfinite.pth")["iteration"] == 5
    assert "model as it was then is in" in caplog.text


def test_training_goes_on_without_corrupt_images_and_says_so(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    folder = Path(cfg.DATASETS.NAMES[0].partition(":")[2]) / "bounding_box_train"
    bad = sorted(folder.iterdir())[:3]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(bad[1].read_bytes()[:300])
    bad[2].write_text("no image")
    trainer = train(cfg)
    assert set(trainer.unreadable_images()) == {str(path) for path in bad}
    assert final(cfg)["iteration"] == 12


def test_best_checkpoint_is_remembered_by_a_resumed_run(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(SOLVER__MAX_EPOCH=2, TEST__EVAL_PERIOD=1)
    trainer = train(cfg)
    assert trainer.best is not None and trainer.best.best is not None
    again = DefaultTrainer(cfg)
    again.resume_or_load(True)
    assert again.best is not None
    assert (again.best.best, again.best.best_epoch) == (trainer.best.best, trainer.best.best_epoch)
    assert read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_best.pth")["epoch"] == trainer.best.best_epoch


def test_number_of_classes_must_be_that_of_the_data(make_cfg: MakeCfg) -> None:
    assert DefaultTrainer(make_cfg()).cfg.MODEL.HEADS.NUM_CLASSES == 8
    with pytest.raises(ConfigError, match=r"is 5, but .* have 8 identities.* add MODEL\.HEADS\.NUM_CLASSES 0"):
        DefaultTrainer(make_cfg(MODEL__HEADS__NUM_CLASSES=5))


def test_the_same_seed_gives_the_same_run_and_another_does_not(make_cfg: MakeCfg) -> None:
    one, same, other = make_cfg("one"), make_cfg("same"), make_cfg("other", SEED=1)
    for cfg in (one, same, other):
        train(cfg)
    assert_equal_runs(one, same)
    assert not torch.equal(final(one)["model"]["heads.weight"], final(other)["model"]["heads.weight"])


@pytest.mark.parametrize("switch", ["MODEL__CHANNELS_LAST", "SOLVER__CLIP_GRADIENTS__ENABLED", "TEST__FLIP__ENABLED"])
def test_switches(make_cfg: MakeCfg, switch: str) -> None:
    train(make_cfg(SOLVER__MAX_EPOCH=1, **{switch: True}))


def test_precise_bn_leaves_the_batches_of_training_alone(make_cfg: MakeCfg) -> None:
    plain = make_cfg("plain", SOLVER__MAX_EPOCH=2)
    precise = make_cfg("precise", SOLVER__MAX_EPOCH=2, TEST__PRECISE_BN__ENABLED=True, TEST__PRECISE_BN__NUM_ITER=3)
    for cfg in (plain, precise):
        train(cfg)
    a, b = final(plain)["model"], final(precise)["model"]
    assert torch.equal(a["heads.weight"], b["heads.weight"])
    name = next(key for key in a if key.endswith("running_mean"))
    assert not torch.equal(a[name], b[name])


def test_ema_weights_are_the_model_of_the_checkpoint(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(SOLVER__EMA__ENABLED=True, SOLVER__EMA__MOMENTUM=0.5)
    trainer = train(cfg)
    state = final(cfg)
    name = "heads.weight"
    assert torch.equal(state["training_model"][name], trainer.model.state_dict()[name])
    assert not torch.equal(state["model"][name], state["training_model"][name])
    # What is saved as the model is what was evaluated.
    load_weights(trainer.model, state)
    (metrics,) = trainer.test().values()
    (saved,) = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text()).values()
    assert metrics["mAP"] == saved["mAP"]


def test_a_broken_query_costs_the_figures_but_not_the_model(
    make_cfg: MakeCfg, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = make_cfg(TEST__EVAL_PERIOD=1)
    bad = sorted((Path(cfg.DATASETS.NAMES[0].partition(":")[2]) / "query").iterdir())[0]
    bad.write_bytes(b"")
    with pytest.raises(UnreadableImagesError, match=bad.name):
        train(cfg)
    assert caplog.text.count("evaluation failed, training goes on: ") == 1
    assert caplog.text.count("evaluation failed: ") == 1
    assert final(cfg)["epoch"] == 2
    assert not (Path(cfg.OUTPUT_DIR) / "results.json").exists()


def test_options_of_the_evaluation_fail_before_the_training(make_cfg: MakeCfg) -> None:
    with pytest.raises(ValueError, match=r"k1 must be between 1 and the \d+ images of the gallery; got 9999"):
        DefaultTrainer(make_cfg("k1", TEST__RERANK__ENABLED=True, TEST__RERANK__K1=9999))
    with pytest.raises(RegistryError, match="Did you mean"):
        DefaultTrainer(make_cfg("name", TEST__EVALUATOR="ReidEvalator"))


def test_no_test_set(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(DATASETS__TESTS=())
    assert train(cfg).best is None
    assert final(cfg)["epoch"] == 2


def test_an_interrupt_in_the_last_evaluation_still_ends_the_run(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    train(cfg, hook=StopAt(12, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert final(cfg)["epoch"] == 2


def test_a_new_run_in_a_used_folder_is_not_taken_for_the_old_one(
    make_cfg: MakeCfg, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = make_cfg()
    train(cfg)

    def crash() -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(cfg, hook=StopAt(2, crash))
    assert "holds an earlier run" in caplog.text
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(True)
    assert trainer.loop.start_iteration == 0


def test_bf16_training_and_auto_on_a_cpu(make_cfg: MakeCfg) -> None:
    train(make_cfg("bf16", SOLVER__MAX_EPOCH=1, SOLVER__AMP__ENABLED=True, SOLVER__AMP__DTYPE="bf16"))
    trainer = DefaultTrainer(make_cfg("auto", SOLVER__AMP__ENABLED=True))
    assert type(trainer.loop).__name__ == "SimpleTrainer"


def test_progress_bar_shows_losses_and_the_log_file_has_the_lines(
    make_cfg: MakeCfg, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = make_cfg(SOLVER__MAX_EPOCH=1)
    setup_logger(cfg.OUTPUT_DIR)
    try:
        trainer = DefaultTrainer(cfg, show_progress=True)
        trainer.train()
    finally:
        logging.getLogger("fastreid_ext").handlers.clear()
        logging.getLogger("fastreid_ext").propagate = True
    shown = capsys.readouterr()
    assert "epoch 1/1" in shown.err and "triplet=" in shown.err and "images/s=" in shown.err
    assert "iteration 6/6" not in shown.out
    assert "iteration 6/6" in (Path(cfg.OUTPUT_DIR) / "log.txt").read_text()
