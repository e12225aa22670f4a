"""The loop, its steps and its hooks on a linear model."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.engine import AMPTrainer, NonFiniteLossError, SimpleTrainer
from fastreid_ext.engine.hooks import Hook, LayerFreeze, WeightAverage
from fastreid_ext.engine.hooks.precise_bn import update_bn_statistics


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.heads = nn.Linear(4, 1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        error = self.heads(self.backbone(batch["images"])).square().mean()
        return {"loss_one": error, "loss_two": 2 * error}


def batches(count: int = 10**9, size: int = 4) -> Iterator[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    for number in itertools.islice(itertools.count(), count):
        yield {"images": torch.randn(size, 3, generator=generator), "img_paths": [f"{number}-{i}" for i in range(size)]}


def trainer(model: nn.Module, loader: Any = None, **options: Any) -> SimpleTrainer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"iters_per_epoch": 3, "max_epochs": 2} | options
    return SimpleTrainer(model, batches() if loader is None else loader, optimizer, **options)


class Recorder(Hook):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith(("before_", "after_")) or name == "close":
            return lambda: self.calls.append(f"{name} {self.trainer.iteration}")
        return super().__getattribute__(name)


def test_order_of_hooks_and_counting() -> None:
    run, recorder = trainer(Model(), max_epochs=2, iters_per_epoch=2), Recorder()
    run.register_hooks([recorder])
    run.train()
    step = ["before_step {0}", "after_backward {0}", "after_step {1}"]
    steps = [[text.format(i, i + 1) for text in step] for i in range(4)]
    assert recorder.calls == [
        "before_train 0",
        *["before_epoch 0", *steps[0], *steps[1], "after_epoch 2"],
        *["before_epoch 2", *steps[2], *steps[3], "after_epoch 4"],
        "after_train 4",
        "close 4",
    ]


def test_hooks_are_closed_after_an_error() -> None:
    run, recorder = trainer(Model(), loader=batches(1)), Recorder()
    run.register_hooks([recorder])
    with pytest.raises(StopIteration):
        run.train()
    assert recorder.calls[-1] == "close 1"


def test_step_equals_plain_torch() -> None:
    torch.manual_seed(1)
    model, plain = Model(), Model()
    plain.load_state_dict(model.state_dict())
    trainer(model).train()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for batch in batches(6):
        optimizer.zero_grad()
        sum(plain(batch).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    for own, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, expected)


def test_weights_do_change() -> None:
    # FastReID on torch 2 trains silently without changing a weight.
    model = Model()
    before = [parameter.clone() for parameter in model.parameters()]
    trainer(model).train()
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True) if a.abs().sum() > 0)


def test_accumulation_equals_one_large_batch() -> None:
    large = Model()
    large.backbone = nn.Sequential(nn.Linear(3, 4))  # batch norm sees the parts, not the whole
    small = Model()
    small.backbone = nn.Sequential(nn.Linear(3, 4))
    small.load_state_dict(large.state_dict())
    joined = ({"images": torch.cat((a["images"], b["images"]))} for a, b in zip(*[batches()] * 2, strict=False))
    trainer(large, joined, max_epochs=1).train()
    trainer(small, batches(), max_epochs=1, accumulation_steps=2).train()
    for one, other in zip(large.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_update(value: float) -> None:
    def poisoned() -> Iterator[dict[str, Any]]:
        for number, batch in enumerate(batches()):
            yield batch if number != 4 else {**batch, "images": batch["images"] * value}

    model = Model()
    run = trainer(model, poisoned())
    with pytest.raises(NonFiniteLossError, match=r"iteration 4.*loss_one = .*images: 4-0, 4-1, 4-2, 4-3") as caught:
        run.train()
    assert caught.value.img_paths == ["4-0", "4-1", "4-2", "4-3"]
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_bf16_on_the_cpu() -> None:
    model = Model()
    seen: list[torch.dtype] = []
    model.heads.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    AMPTrainer(
        model, batches(), optimizer, iters_per_epoch=2, max_epochs=1, dtype=torch.bfloat16, device_type="cpu"
    ).train()
    assert seen == [torch.bfloat16] * 2
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_freeze_keeps_weights_and_statistics_and_then_lets_go() -> None:
    model = Model()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    run = trainer(model, iters_per_epoch=4, max_epochs=1)
    run.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5, momentum=0.9)
    states: list[bool] = []

    class Look(Hook):
        def after_step(self) -> None:
            states.append(all(torch.equal(before[n], v) for n, v in model.backbone.state_dict().items()))

    run.register_hooks([LayerFreeze(model, ["backbone"], 2), Look()])
    run.train()
    assert states == [True, True, False, False]
    assert model.backbone.training


def test_freeze_of_an_unknown_layer() -> None:
    with pytest.raises(KeyError, match=r"names 'backbon', but the model has no such part. Did you mean backbone"):
        LayerFreeze(Model(), ["backbon"], 1)


def test_weight_average_is_the_moving_average() -> None:
    model = Model()
    expected = model.heads.weight.detach().clone()
    average = WeightAverage(model, 0.8)

    class Expect(Hook):
        def after_step(self) -> None:
            expected.mul_(0.8).add_(model.heads.weight.detach(), alpha=0.2)

    run = trainer(model)
    run.register_hooks([average, Expect()])
    run.train()
    own = model.heads.weight.detach().clone()
    with average.swapped():
        torch.testing.assert_close(model.heads.weight.detach(), expected)
        torch.testing.assert_close(model.backbone[1].running_mean, average.average["backbone.1.running_mean"])
    assert torch.equal(model.heads.weight, own)


def test_precise_bn_is_the_plain_average() -> None:
    model = Model()
    data = list(batches(5))
    update_bn_statistics(model, data, 5)
    inputs = [model.backbone[0](batch["images"]) for batch in data]
    norm = model.backbone[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(0) for x in inputs]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(0) for x in inputs]).mean(0))
    assert norm.momentum == 0.1
