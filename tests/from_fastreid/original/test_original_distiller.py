"""FastReID's distillation on the same weights, and where ours differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fastreid.modeling.meta_arch import build_model as build_original_model
from fastreid.modeling.meta_arch.distiller import Distiller as OriginalDistiller
from fastreid.utils.events import EventStorage
from side_by_side import original_config, randomize
from torch import Tensor, nn

from fastreid_ext.config import ConfigError, load_config
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.losses.divergence import jeffreys_divergence

PIDS = torch.tensor([0, 0, 1, 1, 2, 2])
NETWORK = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.NUM_CLASSES": 3,
    "MODEL.HEADS.WITH_BNNECK": True,
}
DISTILLER = {"MODEL.META_ARCHITECTURE": "Distiller"}


def listed(options: dict[str, Any]) -> list[Any]:
    return [part for pair in options.items() for part in pair]


def images() -> Tensor:
    return 255 * torch.rand(6, 3, 32, 16)


@pytest.fixture
def teachers(tmp_path: Path) -> dict[str, Any]:
    """Two teachers' files, by the keys of the student's config."""
    files, weights = [], []
    for number in range(2):
        cfg = original_config(options=listed(NETWORK))
        model = build_original_model(cfg)
        randomize(model, images())
        files.append(str(tmp_path / f"{number}.yml"))
        weights.append(str(tmp_path / f"{number}.pth"))
        Path(files[-1]).write_text(cfg.dump())
        torch.save({"model": model.state_dict()}, weights[-1])
    return {"KD.MODEL_CONFIG": files, "KD.MODEL_WEIGHTS": weights}


def both(options: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Of the same weights, the student's included."""
    given = listed({**NETWORK, **DISTILLER, **options})
    theirs, ours = build_original_model(original_config(options=given)), build_model(load_config("", given))
    randomize(theirs, images())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs.train(), ours.train()


def loss(model: nn.Module, data: Tensor) -> Tensor:
    with EventStorage(0):
        found: Tensor = model({"images": data.clone(), "targets": PIDS.clone()})["loss_jsdiv"]
    return found


def as_ours(teacher: Any) -> None:
    """Statistics that are kept, as frozen teachers have them; the head itself gives logits in training only."""
    teacher.eval()
    teacher.heads.training = True


def test_divergence() -> None:
    ours, theirs = (8 * torch.randn(6, 5, requires_grad=True) for _ in range(2))
    expected = OriginalDistiller.jsdiv_loss(OriginalDistiller, ours, theirs)
    found = jeffreys_divergence(ours, theirs, temperature=16.0)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    slopes = [torch.autograd.grad(value, [ours, theirs]) for value in (expected, found)]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*slopes, strict=True))


def test_frozen_teachers(teachers: dict[str, Any]) -> None:
    theirs, ours = both(teachers)
    data = images()
    before = {name: value.clone() for name, value in theirs.model_ts[0].state_dict().items()}
    # FastReID's take statistics of the batch, and count them.
    of_batch = loss(theirs, data)
    after = theirs.model_ts[0].state_dict()
    assert not all(torch.equal(value, after[name]) for name, value in before.items())
    found = loss(ours, data)
    assert not torch.allclose(found, of_batch, rtol=1e-3)
    for teacher, kept in zip(theirs.model_ts, ours.teachers.teachers, strict=True):
        teacher.load_state_dict(kept.state_dict())
        as_ours(teacher)
    assert torch.allclose(found, loss(theirs, data), rtol=1e-4, atol=1e-5)
    assert theirs.state_dict().keys() == ours.state_dict().keys()


def test_moving_average() -> None:
    theirs, ours = both({"KD.EMA.ENABLED": True, "KD.EMA.MOMENTUM": 0.9})
    average = theirs.model_ts[0]
    average.load_state_dict(ours.average.state_dict())
    before = {name: value.clone() for name, value in average.named_buffers()}
    as_ours(average)
    for number in range(3):
        data = images()
        expected, found = loss(theirs, data), loss(ours, data)
        assert number > 0 or torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
        own = dict(ours.named_parameters())
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                own[name].copy_(parameter.add_(0.01 * torch.randn_like(parameter)))
        ours.after_step(number / 3)
    # FastReID's follows when it looks at the next images, and has the statistics that it began with.
    theirs._momentum_update_key_encoder(0.9)
    kept = dict(ours.average.named_parameters())
    assert all(torch.allclose(value, kept[name], atol=1e-5) for name, value in average.named_parameters())
    statistics = dict(ours.average.named_buffers())
    assert all(torch.equal(value, before[name]) for name, value in average.named_buffers())
    assert not any(torch.equal(value, statistics[name]) for name, value in before.items() if name.endswith("var"))


def test_a_distiller_without_teachers_says_so() -> None:
    theirs = build_original_model(original_config(options=listed({**NETWORK, **DISTILLER}))).train()
    with pytest.raises(ZeroDivisionError):
        loss(theirs, images())
    with pytest.raises(ConfigError, match="a Distiller needs a teacher"):
        load_config("", listed({**NETWORK, **DISTILLER}))
