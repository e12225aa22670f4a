"""The student of frozen teachers and of its own moving average."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.checkpoint import CheckpointError, config_for, load_weights
from fastreid_ext.modeling.inference import prepare_for_inference
from fastreid_ext.modeling.losses.divergence import jeffreys_divergence
from fastreid_ext.modeling.meta_arch import Baseline, Distiller, Teacher
from fastreid_ext.solver import build_optimizer

PIDS = torch.tensor([0, 0, 1, 1, 2, 2])

Make = Callable[..., CfgNode]


def network(**more: Any) -> dict[str, Any]:
    return {
        "MODEL": {
            "DEVICE": "cpu",
            "BACKBONE": {"NAME": "build_osnet_backbone", "DEPTH": "x0_25"},
            "HEADS": {"NUM_CLASSES": 3, "WITH_BNNECK": True},
            **more,
        }
    }


def plain(**more: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_mapping(network(**more))
    return cfg


def student(ema: float | None = None, teachers: list[tuple[str, str]] | None = None, **kd: Any) -> CfgNode:
    cfg = plain(META_ARCHITECTURE="Distiller")
    files, weights = zip(*teachers, strict=True) if teachers else ((), ())
    average = {"ENABLED": ema is not None, "MOMENTUM": ema or 0.5}
    cfg.merge_from_mapping({"KD": {"MODEL_CONFIG": list(files), "MODEL_WEIGHTS": list(weights), "EMA": average, **kd}})
    return cfg


@pytest.fixture
def teacher(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Writes config and checkpoint of a teacher of its own weights and statistics."""

    def make(name: str = "teacher", **more: Any) -> tuple[str, str]:
        cfg = plain(**more)
        torch.manual_seed(len(name))
        model = build_model(cfg)
        model({"images": 255 * torch.rand(6, 3, 32, 16), "targets": PIDS})
        file, weights = tmp_path / f"{name}.yml", tmp_path / f"{name}.pth"
        text = {key: value for key, value in network(**more)["MODEL"].items() if key != "DEVICE"}
        text["HEADS"] = {key: value for key, value in text["HEADS"].items() if key != "NUM_CLASSES"}
        file.write_text(CfgNode({"MODEL": text}).dump())
        torch.save({"model": model.state_dict()}, weights)
        return str(file), str(weights)

    return make


def batch(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"images": torch.randint(0, 256, (6, 3, 32, 16), generator=generator).float(), "targets": PIDS}


def slow_divergence(logits: Tensor, others: Tensor, temperature: float) -> float:
    total = 0.0
    for row, other in zip(logits.tolist(), others.tolist(), strict=True):
        p, q = ([math.exp(x / temperature) for x in values] for values in (row, other))
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        forward = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        backward = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        total += temperature**2 * (forward + backward) / 2
    return total / len(logits)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 16.0])
def test_divergence_equals_the_loop(temperature: float) -> None:
    logits, others = 5 * torch.randn(7, 5), 5 * torch.randn(7, 5)
    found = jeffreys_divergence(logits, others, temperature=temperature)
    assert found.item() == pytest.approx(slow_divergence(logits, others, temperature), rel=1e-4)
    assert jeffreys_divergence(logits, logits).item() == 0.0


def test_divergence_has_the_right_gradient() -> None:
    logits, others = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: jeffreys_divergence(a, b, temperature=2.0), (logits, others))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_divergence_is_finite_in_half_precision(dtype: torch.dtype) -> None:
    logits = (torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) * 6e4).to(dtype).requires_grad_()
    loss = jeffreys_divergence(logits, -logits.detach())
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_other_classes_cannot_teach() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\) \(images, classes\) cannot teach logits of \(2, 3\)"):
        jeffreys_divergence(torch.zeros(2, 3), torch.zeros(2, 4))


def test_the_loss_is_the_mean_over_teachers(teacher: Callable[..., tuple[str, str]]) -> None:
    files = [teacher("one"), teacher("two", HEADS={"NUM_CLASSES": 3, "EMBEDDING_DIM": 4})]
    model = build_model(student(teachers=files, TEMPERATURE=3.0))
    assert isinstance(model, Distiller)
    data = batch()
    losses = model(data)
    assert set(losses) == {"loss_cls", "loss_jsdiv"}
    images = model.normalize(data["images"])
    own = model.heads(model.backbone(images), PIDS)["pred_class_logits"].detach()
    expected = []
    for file, weights in files:
        state = torch.load(weights, weights_only=True)
        frozen = Baseline(config_for(_read(file), state)).eval()
        load_weights(frozen, state)
        with torch.no_grad():
            taught = frozen.heads(frozen.backbone(images)) @ frozen.heads.weight.T
        expected.append(slow_divergence(own, taught, 3.0))
    assert losses["loss_jsdiv"].item() == pytest.approx(sum(expected) / 2, rel=1e-3)


def _read(file: str) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(file)
    return cfg


def test_teachers_are_not_trained_saved_or_changed(teacher: Callable[..., tuple[str, str]]) -> None:
    file, weights = teacher()
    cfg = student(ema=None, teachers=[(file, weights)])
    model = build_model(cfg)
    assert not any(name.startswith("teachers") for name in model.state_dict())
    own = build_model(plain())
    assert model.state_dict().keys() == own.state_dict().keys()
    optimizer = build_optimizer(cfg, model)
    groups = sum(len(group["params"]) for group in optimizer.param_groups)
    assert groups == sum(parameter.requires_grad for parameter in own.parameters())
    sum(model.train()(batch()).values()).backward()
    optimizer.step()
    (frozen,) = model.teachers.teachers
    saved = torch.load(weights, weights_only=True)["model"]
    assert all(torch.equal(value, saved[name]) for name, value in frozen.state_dict().items())
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_teachers_move_with_the_model(teacher: Callable[..., tuple[str, str]]) -> None:
    model = build_model(student(ema=0.9, teachers=[teacher()])).double()
    (frozen,) = model.teachers.teachers
    assert {value.dtype for value in frozen.parameters()} == {torch.float64}
    assert model({**batch(), "images": batch()["images"].double()})["loss_jsdiv"].dtype == torch.float64
    model.to("meta")
    assert all(value.is_meta for value in [*frozen.parameters(), *frozen.buffers()])


def test_evaluation_is_that_of_the_student(teacher: Callable[..., tuple[str, str]]) -> None:
    model = build_model(student(ema=0.9, teachers=[teacher()])).eval()
    alone = build_model(plain()).eval()
    report = load_weights(alone, model.state_dict())
    assert not report.missing
    assert torch.equal(model(batch()["images"]), alone(batch()["images"]))
    prepared = prepare_for_inference(model)
    assert [name for name, _ in prepared.named_children()] == ["backbone", "heads"]


def test_the_teacher_sees_images_as_it_was_trained(teacher: Callable[..., tuple[str, str]]) -> None:
    file, weights = teacher(PIXEL_MEAN=[127.5] * 3, PIXEL_STD=[64.0] * 3)
    model = build_model(student(teachers=[(file, weights)]))
    (frozen,) = model.teachers.teachers
    images = batch()["images"]
    seen = frozen.normalize(model.normalize(images))
    assert torch.allclose(seen, (images - 127.5) / 64, atol=1e-5)


def test_the_average_follows_weights_and_statistics() -> None:
    cfg = student(ema=0.75)
    model = build_model(cfg).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = model.average
    assert isinstance(average, Teacher)
    expected = {name: value.clone() for name, value in average.state_dict().items()}
    own = model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in expected.items())
    for step in range(3):
        sum(model(batch(step)).values()).backward()
        optimizer.step()
        model.after_step(step / 3)
        own = model.state_dict()
        for name, value in expected.items():
            expected[name] = 0.75 * value + 0.25 * own[name] if value.is_floating_point() else own[name].clone()
    found = average.state_dict()
    assert all(torch.allclose(value, found[name], atol=1e-6) for name, value in expected.items())
    assert not torch.equal(found["heads.bottleneck.0.running_mean"], torch.zeros(128))
    assert found["heads.bottleneck.0.num_batches_tracked"] == 3
    assert all(parameter.grad is None for parameter in average.parameters())


def test_without_gradients_nobody_teaches() -> None:
    model = build_model(student(ema=0.5)).train()
    with torch.no_grad():
        assert set(model(batch())) == {"loss_cls"}


def test_the_average_is_saved_and_starts_from_a_student_without() -> None:
    model = build_model(student(ema=0.5))
    with torch.no_grad():
        model.average.heads.weight.fill_(2.0)
    again = build_model(student(ema=0.5))
    assert load_weights(again, model.state_dict()).fits
    assert (again.average.heads.weight == 2.0).all()
    plain_state = build_model(plain()).state_dict()
    report = load_weights(again, plain_state)
    assert not report.missing
    assert all(torch.equal(value, plain_state[name]) for name, value in again.average.state_dict().items())


def test_modes_of_teachers_are_fixed() -> None:
    model = build_model(student(ema=0.5))
    for mode in (True, False):
        model.train(mode)
        training = [name for name, module in model.average.named_modules() if module.training]
        assert training == ["heads"]


def test_a_checkpoint_is_evaluated_without_the_files_of_teachers() -> None:
    cfg = student(teachers=[("gone.yml", "gone.pth")])
    state = {"model": build_model(plain()).state_dict()}
    model = build_model(config_for(cfg, state))
    assert load_weights(model, state, for_inference=True).fits
    with pytest.raises(ConfigError, match=r"a Distiller needs a teacher to train: see KD\.MODEL_CONFIG"):
        model.train()(batch())


def test_faults_of_teachers_are_named(teacher: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    file, weights = teacher("few", HEADS={"NUM_CLASSES": 5})
    with pytest.raises(ConfigError, match=r"few\.pth: this teacher tells 5 identities apart, the student 3"):
        build_model(student(teachers=[(file, weights)]))
    with pytest.raises(ConfigError, match=r"no config file 'gone\.yml'"):
        build_model(student(teachers=[("gone.yml", weights)]))
    with pytest.raises(CheckpointError, match=r"no checkpoint .*gone\.pth"):
        build_model(student(teachers=[(file, "gone.pth")]))
    state = torch.load(weights, weights_only=True)
    del state["model"]["heads.weight"]
    torch.save(state, tmp_path / "unclassified.pth")
    with pytest.raises(CheckpointError, match=r"KD\.MODEL_WEIGHTS .*does not fit .*heads\.weight"):
        build_model(student(teachers=[(file, str(tmp_path / "unclassified.pth"))]))


def test_heads_of_other_branches_are_refused() -> None:
    model = build_model(student(ema=0.5))
    taught = [{"global": torch.zeros(6, 3)}]
    with pytest.raises(ConfigError, match="logits are of one branch, those of teachers global"):
        model.more_losses({"pred_class_logits": torch.zeros(6, 3), "taught": taught}, PIDS)
    branches = {"branches": {"global": {"pred_class_logits": torch.ones(6, 3)}}, "taught": taught}
    assert model.more_losses(branches, PIDS) == {"loss_jsdiv_global": pytest.approx(0.0)}
