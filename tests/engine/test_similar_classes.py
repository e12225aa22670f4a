"""Trainings whose batches follow their features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.samplers import BatchStream, SimilarIdentitySampler, StagedSampler
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.class_means import ClassMeans
from fastreid_ext.engine.hooks import Hook, SimilarClasses, similar_classes_hook
from fastreid_ext.engine.launch import launch
from fastreid_ext.utils.dist import all_gather_objects, is_main_process

SIMILAR: dict[str, Any] = {
    "DATALOADER__SAMPLER_TRAIN": "SimilarIdentitySampler",
    "SOLVER__MAX_EPOCH": 3,
    "SOLVER__CHECKPOINT_PERIOD": 100,
    "DATASETS__TESTS": (),
}


class Watch(Hook):
    """Remembers what the criterion saw in each step, and the neighbours of each epoch."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Tensor, Tensor]] = []
        self.similar: dict[int, np.ndarray | None] = {}

    def see(self, criterion: nn.Module, arguments: tuple[Any, ...]) -> None:
        outputs, pids = arguments
        self.seen.append((self.trainer.epoch, outputs["features"].detach().double(), pids))

    def before_epoch(self) -> None:
        (hook,) = (hook for hook in self.trainer.hooks if isinstance(hook, SimilarClasses))
        self.similar[self.trainer.epoch] = hook.sampler.similar


class WatchedTrainer(DefaultTrainer):
    """Takes down what the criterion sees."""

    def build_hooks(self) -> list[Hook]:
        self.watch = Watch()
        self.model.get_submodule("criterion").register_forward_pre_hook(self.watch.see)
        return [*super().build_hooks(), self.watch]


def train(cfg: CfgNode, *, resume: bool | str = False, stop: int = 0) -> WatchedTrainer:
    trainer = WatchedTrainer(cfg)
    trainer.resume_or_load(resume)
    step = trainer.loop.run_step

    def run_step() -> None:
        if stop and trainer.loop.iteration == stop:
            trainer.checkpointer.save("stopped", trainer.state_dict())
            raise InterruptedError
        step()

    trainer.loop.run_step = run_step  # type: ignore[method-assign]  # to stop between two steps
    trainer.train()
    return trainer


def average_distances(seen: list[tuple[int, Tensor, Tensor]], epoch: int) -> np.ndarray:
    """Mean squared distance of the unit features of two classes in an epoch, pair of images by pair of images."""
    features = torch.cat([of_batch for when, of_batch, _ in seen if when == epoch]).numpy()
    pids = torch.cat([of_batch for when, _, of_batch in seen if when == epoch]).numpy()
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    classes = range(pids.max() + 1)
    result = np.array([[_average(units[pids == p], units[pids == q]) for q in classes] for p in classes])
    np.fill_diagonal(result, np.inf)
    return result


def _average(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.mean([np.square(x - y).sum() for x in first for y in second]))


def test_neighbours_are_those_of_the_features_of_the_last_epoch(make_cfg: Callable[..., CfgNode]) -> None:
    trainer = train(make_cfg(**SIMILAR, SOLVER__IMS_PER_BATCH=4, SOLVER__ACCUMULATION_STEPS=2))
    watch = trainer.watch
    assert watch.similar[0] is None
    for epoch in (1, 2):
        similar = watch.similar[epoch]
        assert similar is not None and similar.shape == (8, 2)
        expected = np.argsort(average_distances(watch.seen, epoch - 1), axis=1)[:, :2]
        np.testing.assert_array_equal(similar, expected)


def test_batches_are_of_the_new_neighbours_from_the_first_step_of_an_epoch(make_cfg: Callable[..., CfgNode]) -> None:
    trainer = train(make_cfg(**SIMILAR))
    similar, batches = trainer.watch.similar, [pids.tolist() for _, _, pids in trainer.watch.seen]
    assert len(batches) == 18
    sampler = trainer.loader.stream.sampler
    assert isinstance(sampler, SimilarIdentitySampler)
    for epoch in range(3):
        sampler.use(similar[epoch])
        expected = sampler.pids[sampler.epoch(epoch)]
        np.testing.assert_array_equal(batches[6 * epoch : 6 * epoch + 6], expected)


def test_a_resumed_run_equals_an_uninterrupted_one(make_cfg: Callable[..., CfgNode]) -> None:
    whole = make_cfg("whole", **SIMILAR)
    batches = [pids.tolist() for _, _, pids in train(whole).watch.seen]
    first = read_checkpoint(Path(whole.OUTPUT_DIR) / "model_final.pth")
    assert first["hooks"]["SimilarClasses"].keys() == {"known", "means", "sums", "counts", "similar"}
    # In the middle of an epoch, and between the last step of one and the next.
    for stop in (8, 12):
        cfg = make_cfg(f"stopped{stop}", **SIMILAR)
        with pytest.raises(InterruptedError):
            train(cfg, stop=stop)
        resumed = train(cfg, resume=True)
        assert [pids.tolist() for _, _, pids in resumed.watch.seen] == batches[stop:]
        second = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")
        assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())
        for name, value in first["hooks"]["SimilarClasses"].items():
            assert torch.equal(value, second["hooks"]["SimilarClasses"][name]), name


def test_a_first_stage_gathers_and_the_second_uses(make_cfg: Callable[..., CfgNode]) -> None:
    stage = {"EPOCHS": 2, "SAMPLER_TRAIN": "TrainingSampler"}
    trainer = train(make_cfg(**SIMILAR, SOLVER__FIRST_STAGE=stage))
    assert isinstance(trainer.loader.stream.sampler, StagedSampler)
    similar = trainer.watch.similar
    assert similar[0] is None and similar[1] is None and similar[2] is not None
    for first, *others in (list(dict.fromkeys(p.tolist())) for epoch, _, p in trainer.watch.seen if epoch == 2):
        assert set(others) <= set(similar[2][first].tolist())


def test_precise_statistics_and_evaluations_add_no_features(make_cfg: Callable[..., CfgNode]) -> None:
    precise = {"ENABLED": True, "NUM_ITER": 2}
    cfg = make_cfg(TEST__PRECISE_BN=precise, TEST__EVAL_PERIOD=1, DATALOADER__SAMPLER_TRAIN="SimilarIdentitySampler")
    trainer = train(cfg)
    (hook,) = (hook for hook in trainer.loop.hooks if isinstance(hook, SimilarClasses))
    # The last epoch's sums are not made means of: no epoch follows.
    assert int(hook.means.state_dict()["counts"].sum()) == 6 * 8


def test_means_of_the_unseen_stay() -> None:
    means = ClassMeans(3)
    means.add(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 2]))
    means.end_epoch()
    means.add(torch.tensor([[0.0, -4.0], [-1.0, 0.0]]), torch.tensor([2, 2]))
    means.end_epoch()
    assert means.known.tolist() == [True, False, True]
    assert means.means is not None
    torch.testing.assert_close(means.means, torch.tensor([[1.0, 0.0], [0.0, 0.0], [-0.5, -0.5]]))


def test_identities_that_were_not_seen_have_no_neighbours_and_are_none() -> None:
    """Neighbours are labels, not places among the identities that are known."""
    sampler = SimilarIdentitySampler([0, 0, 1, 1, 2, 2, 3, 3], [0] * 8, batch_size=4, num_instances=2)
    hook = SimilarClasses(nn.Identity(), sampler, BatchStream(sampler))
    # Identity 1 has not been seen; 0 is nearer to 3 than to 2.
    hook.means.add(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.5]]), torch.tensor([0, 2, 3]))
    hook.means.end_epoch()
    similar = hook._similar()
    assert similar is not None
    assert similar.tolist() == [[3, 2], [-1, -1], [3, 0], [0, 2]]


class Outputs(nn.Module):
    """A model whose criterion takes what a head might give."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = Sum()

    def forward(self, outputs: dict[str, Any], pids: Tensor) -> Tensor:
        return 2 * self.criterion(outputs, pids)


class Sum(nn.Module):
    def forward(self, outputs: dict[str, Any], pids: Tensor) -> Tensor:
        branches = outputs.get("branches", {"": outputs})
        return sum(of_branch["logits"].sum() for of_branch in branches.values())


@pytest.mark.parametrize("compiled", [False, True])
def test_branches_are_one_feature_and_compiled_models_show_theirs(compiled: bool) -> None:
    model, means = Outputs(), ClassMeans(2)
    model.criterion.register_forward_pre_hook(means.see)
    means.gathering = True
    run = torch.compile(model, backend="eager") if compiled else model
    branches = {
        name: {"features": torch.tensor([[3.0], [0.0]]) + n, "logits": torch.ones(2)} for n, name in enumerate("ab")
    }
    for _ in range(2):
        assert run({"branches": branches}, torch.tensor([1, 0])) == 8
    means.gathering = False
    run({"branches": branches}, torch.tensor([1, 0]))
    means.end_epoch()
    torch.testing.assert_close(means.means, torch.tensor([[0.0, 1.0], [0.6, 0.8]]))
    means.gathering = True
    with pytest.raises(ConfigError, match="the head gives none"):
        model({"logits": torch.ones(2)}, torch.tensor([0, 1]))


def test_other_samplers_need_no_hook(make_cfg: Callable[..., CfgNode]) -> None:
    trainer = DefaultTrainer(make_cfg())
    assert similar_classes_hook(trainer.model, trainer.loader) is None
    trainer.loader.stream.sampler = SimilarIdentitySampler([0, 0, 1, 1], [0, 1, 0, 1], batch_size=4, num_instances=2)
    with pytest.raises(ConfigError, match="Linear has no criterion"):
        similar_classes_hook(nn.Linear(1, 1), trainer.loader)


class Float64Trainer(WatchedTrainer):
    """Rounding in float64 is too small to change what is near."""

    def build_model(self, cfg: CfgNode) -> nn.Module:
        return super().build_model(cfg).double()


def train_and_tell(cfg: CfgNode) -> None:
    torch.set_num_threads(1)
    trainer = Float64Trainer(cfg)
    trainer.train()
    (hook,) = (hook for hook in trainer.loop.hooks if isinstance(hook, SimilarClasses))
    pids = torch.stack([pids for _, _, pids in trainer.watch.seen])
    told = {"pids": gather_columns(pids), "similar": torch.from_numpy(trainer.watch.similar[1]), **hook.state_dict()}
    for other in all_gather_objects(told):
        assert all(torch.equal(value, other[name]) for name, value in told.items())
    if is_main_process():
        torch.save(told, Path(cfg.OUTPUT_DIR) / "told.pth")


def gather_columns(columns: Tensor) -> Tensor:
    return torch.cat(all_gather_objects(columns), dim=1)


def test_two_processes_make_the_batches_and_means_of_one(make_cfg: Callable[..., CfgNode]) -> None:
    options = {
        **SIMILAR,
        "SOLVER__MAX_EPOCH": 2,
        "SOLVER__OPT": "SGD",
        # Training is chaotic: what is compared must not hang on the last bits of gradients.
        "SOLVER__BASE_LR": 1e-12,
        "MODEL__BACKBONE__NORM": "GN",
        "MODEL__HEADS__NORM": "GN",
    }
    one, two = make_cfg("one", **options), make_cfg("two", **options)
    train_and_tell(one)
    launch(train_and_tell, (two,), num_processes=2, device="cpu")
    first, second = (torch.load(Path(cfg.OUTPUT_DIR) / "told.pth", weights_only=True) for cfg in (one, two))
    for name in ("pids", "similar", "known", "counts"):
        assert torch.equal(first[name], second[name]), name
    for name in ("means", "sums"):
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-6)
