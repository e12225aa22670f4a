"""The meta-architecture: which encoder gives what, what follows what, and what is refused."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.engine.checkpoint import CheckpointError, load_weights
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.heads import EmbeddingHead
from fastreid_ext.modeling.inference import prepare_for_inference
from fastreid_ext.modeling.losses import Criterion, CrossEntropyLoss, TripletLoss
from fastreid_ext.modeling.meta_arch import Baseline
from fastreid_ext.projects.moreid import HardDistanceElasticLoss, MoReID, NegativeDictionary

PIDS = torch.arange(8) // 4


def config(**more: Any) -> CfgNode:
    cfg = get_cfg(["moreid"])
    cfg.merge_from_mapping(
        {
            "MODEL": {
                "META_ARCHITECTURE": "MoReID",
                "DEVICE": "cpu",
                "BACKBONE": {"NAME": "build_osnet_backbone", "DEPTH": "x0_25", "FEAT_DIM": 128},
                "HEADS": {"NUM_CLASSES": 4, "EMBEDDING_DIM": 6, "WITH_BNNECK": True, "NECK_FEAT": "after"},
                "LOSSES": {"NAME": ("CrossEntropyLoss", "HardDistanceElasticLoss")},
                "MOREID": {"DICTIONARY_SIZE": 20, "MOMENTUM": 0.75},
            },
            "INPUT": {"SIZE_TRAIN": [32, 16]},
            "DATALOADER": {"SAMPLER_TRAIN": "NaiveIdentitySampler"},
            "SOLVER": {"IMS_PER_BATCH": 8},
        }
    )
    cfg.merge_from_list([part for key, value in more.items() for part in (key.replace("__", "."), value)])
    return cfg


def build(**more: Any) -> MoReID:
    model = build_model(config(**more))
    assert isinstance(model, MoReID)
    return model


def batch(seed: int = 0) -> dict[str, Tensor]:
    images = torch.randint(0, 256, (8, 3, 32, 16), generator=torch.Generator().manual_seed(seed)).float()
    return {"images": images, "targets": PIDS}


def step(model: MoReID, number: int = 0, progress: float = 0.5) -> dict[str, Tensor]:
    losses: dict[str, Tensor] = model(batch(number))
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    model.after_step(progress)
    return losses


def main_state(model: MoReID) -> dict[str, Tensor]:
    state = {
        name: value.clone() for name, value in model.state_dict().items() if name.startswith(("backbone", "heads"))
    }
    del state["heads.weight"]
    return state


def momentum_state(model: MoReID) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.momentum_encoder.state_dict().items()}


def test_the_momentum_encoder_follows_weights_slowly_and_buffers_at_once() -> None:
    model = build()
    expected = main_state(model)
    assert momentum_state(model).keys() == expected.keys()
    parameters = dict(model.named_parameters())
    for number in range(3):
        step(model, number)
        for name, value in main_state(model).items():
            expected[name] = 0.75 * expected[name] + 0.25 * value if name in parameters else value
    torch.testing.assert_close(momentum_state(model), expected)
    assert any(name.endswith("running_mean") for name in expected)
    assert not any(parameter.requires_grad for parameter in model.momentum_encoder.parameters())


@pytest.mark.parametrize(
    ("schedule", "progress", "momentum"),
    [
        ("constant", 0.5, 0.75),
        ("cosine", 0.0, 0.75),
        ("cosine", 0.25, 0.786612),
        ("cosine", 0.5, 0.875),
        ("cosine", 1.0, 1.0),
    ],
)
def test_the_schedule_sets_the_momentum(schedule: str, progress: float, momentum: float) -> None:
    model = build(MODEL__MOREID__MOMENTUM_SCHEDULE=schedule)
    before = momentum_state(model)["heads.bottleneck.0.weight"]
    step(model, progress=progress)
    after, main = momentum_state(model)["heads.bottleneck.0.weight"], main_state(model)["heads.bottleneck.0.weight"]
    torch.testing.assert_close(after, momentum * before + (1 - momentum) * main)


def test_keys_are_of_the_momentum_encoder_and_queries_of_the_main_one() -> None:
    model = build()
    for number in range(4):
        before = copy.deepcopy(model)
        losses = step(model, number)
        images = before.preprocess(batch(number))
        keys = before.momentum_encoder(images, PIDS)[""]
        queries = before.heads(before.backbone(images), PIDS)["features"]
        assert model.dictionary.dim == keys.shape[1] == 6
        places = [(8 * number + image) % 20 for image in range(8)]
        torch.testing.assert_close(model.dictionary.features[places], keys)
        filled = min(20, 8 * number + 8)
        features, present = model.dictionary.features[:filled], torch.zeros(8, filled, dtype=torch.bool)
        for image in range(8):
            for other in range(8):
                present[image, places[other]] = image != other
        expected = HardDistanceElasticLoss()(queries, features, PIDS, model.dictionary.pids[:filled], present)
        torch.testing.assert_close(losses["loss_he"], expected)


def test_a_dictionary_of_one_batch_gives_the_loss_of_a_baseline() -> None:
    model = build(MODEL__MOREID__DICTIONARY_SIZE=8)
    baseline = build_model(config(MODEL__META_ARCHITECTURE="Baseline"))
    load_weights(baseline, model.state_dict())
    expected = baseline(batch())
    for name, loss in model(batch()).items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-5, atol=1e-5)


def test_only_the_main_encoder_is_evaluated_and_kept_for_inference() -> None:
    model = build()
    step(model)
    baseline = build_model(config(MODEL__META_ARCHITECTURE="Baseline"))
    report = load_weights(baseline, model.state_dict(), for_inference=True)
    assert not report.missing and all(
        name.startswith(("momentum_encoder.", "dictionary.")) for name in report.unexpected
    )
    images = batch()["images"]
    embeddings = model.eval()(images)
    assert torch.equal(embeddings, baseline.eval()(images))
    quick = prepare_for_inference(model)
    assert [name for name, _ in quick.named_children()] == ["backbone", "heads"]
    torch.testing.assert_close(quick(images), embeddings, rtol=1e-4, atol=1e-4)
    assert isinstance(model.momentum_encoder, nn.Module) and isinstance(model.dictionary, NegativeDictionary)


def test_training_may_start_from_a_baseline() -> None:
    baseline = build_model(config(MODEL__META_ARCHITECTURE="Baseline"))
    model = build()
    load_weights(model, baseline.state_dict())
    torch.testing.assert_close(momentum_state(model), main_state(model), rtol=0, atol=0)
    torch.testing.assert_close(model.heads.weight, baseline.heads.weight, rtol=0, atol=0)
    assert not any("momentum" in name for name in load_weights(build(), baseline.state_dict()).missing)
    # Evaluating needs no more than that, but it needs that.
    load_weights(build(), baseline.state_dict(), for_inference=True)
    half = {name: value for name, value in baseline.state_dict().items() if "bottleneck" not in name}
    with pytest.raises(CheckpointError, match=r"heads\.bottleneck"):
        load_weights(build(), half, for_inference=True)


def test_another_training_does_not_take_the_dictionary_over() -> None:
    model, other = build(), build()
    step(model)
    report = load_weights(other, model.state_dict(), memories=False)
    assert report.fits and other.dictionary.filled == 0 and not other.dictionary.features.any()
    torch.testing.assert_close(momentum_state(other), momentum_state(model), rtol=0, atol=0)
    assert load_weights(build(), model.state_dict()).fits and model.dictionary.filled == 8


def test_compiled_it_gives_the_same_losses() -> None:
    model = plain()
    compiled = torch.compile(copy.deepcopy(model), backend="eager")
    for number in range(2):
        expected = model(batch(number))
        torch.testing.assert_close(compiled(batch(number)), expected)


def test_a_checkpoint_brings_its_own_momentum_encoder() -> None:
    model, other = build(), build()
    step(model)
    load_weights(other, model.state_dict())
    torch.testing.assert_close(dict(other.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    assert not torch.equal(other.momentum_encoder.heads.bottleneck[0].weight, other.heads.bottleneck[0].weight)


def test_without_gradients_nothing_is_remembered() -> None:
    model = build()
    with torch.no_grad():
        model(batch())
    assert model.dictionary.filled == 0 and not model.dictionary.features.any()
    model.eval()(batch())
    assert model.dictionary.filled == 0


def test_fixed_parts_are_fixed_in_both_encoders() -> None:
    model = build()
    model.backbone.eval()
    before = {name: value.clone() for name, value in model.momentum_encoder.backbone.named_buffers()}
    model(batch())
    assert not model.momentum_encoder.backbone.training and model.momentum_encoder.heads.training
    torch.testing.assert_close(dict(model.momentum_encoder.backbone.named_buffers()), before, rtol=0, atol=0)
    model.train()
    model(batch())
    assert model.momentum_encoder.backbone.training


def test_each_branch_of_a_head_has_its_keys() -> None:
    cfg = get_cfg(["msinet", "moreid"])
    cfg.merge_from_other_cfg(config())
    names = {"NAME": "TwoBranchHead", "EMBEDDING_DIM": 0, "NUM_CLASSES": 4}
    cfg.merge_from_mapping(
        {"MODEL": {"BACKBONE": {"NAME": "MSINet"}, "HEADS": names}, "INPUT": {"SIZE_TRAIN": [64, 32]}}
    )
    model = build_model(cfg)
    assert isinstance(model, MoReID) and model.dictionary.dim == 512 + 256
    images = torch.randint(0, 256, (8, 3, 64, 32)).float()
    losses = model({"images": images, "targets": PIDS})
    assert set(losses) == {f"loss_{loss}_{branch}" for loss in ("cls", "he") for branch in ("global", "local")}
    features = model.momentum_encoder(model.normalize(images), PIDS)
    for branch, part in zip(("global", "local"), (slice(0, 512), slice(512, None)), strict=True):
        torch.testing.assert_close(model.dictionary.features[:8, part], features[branch], rtol=1e-4, atol=1e-4)


def plain() -> MoReID:
    return MoReID(
        backbone=nn.Conv2d(3, 5, 3),
        heads=EmbeddingHead(feature_dim=5, num_classes=2),
        dictionary=NegativeDictionary(20, 5),
        criterion=Criterion(losses=[CrossEntropyLoss(), TripletLoss(), HardDistanceElasticLoss()]),
    )


def test_plain_modules_without_a_config() -> None:
    model = plain()
    assert set(step(model)) == {"loss_cls", "loss_triplet", "loss_he"}
    assert isinstance(model, Baseline) and math.isclose(model.momentum, 0.997)
    with pytest.raises(ValueError, match=r"width 5, not \(8, 4\)"):
        model.dictionary(torch.zeros(8, 4), PIDS)
    model.heads = EmbeddingHead(feature_dim=5, num_classes=2, embedding_dim=4, neck_feat="after")
    with pytest.raises(ValueError, match=r"queries are 4 wide, keys 5"):
        model(batch())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"MODEL__MOREID__DICTIONARY_SIZE": 7}, r"DICTIONARY_SIZE 7 is smaller than a batch of 8 images"),
        ({"MODEL__MOREID__MOMENTUM": 1.5}, r"MODEL.MOREID.MOMENTUM is 1.5"),
        ({"MODEL__MOREID__MOMENTUM_SCHEDULE": "cosin"}, r"MOMENTUM_SCHEDULE is 'cosin'.*Did you mean cosine"),
        ({"DATALOADER__NUM_INSTANCE": 1}, r"DATALOADER.NUM_INSTANCE is 1: no image of a batch has a positive"),
        ({"MODEL__LOSSES__NAME": ("CrossEntropyLoss",)}, r"none of MODEL.LOSSES.NAME \(CrossEntropyLoss\) compares"),
        ({"MODEL__LOSSES__HE__METRIC": "cosin"}, r"MODEL.LOSSES.HE.METRIC: unknown metric 'cosin'"),
    ],
)
def test_what_could_not_train_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**more)


def test_wrong_arguments_are_refused() -> None:
    parts: dict[str, Any] = {"backbone": nn.Conv2d(3, 5, 3), "heads": EmbeddingHead(feature_dim=5)}
    with pytest.raises(ValueError, match=r"momentum of MoReID is -0.1"):
        MoReID(**parts, dictionary=NegativeDictionary(16, 5), momentum=-0.1)
    with pytest.raises(ValueError, match=r"unknown momentum schedule 'linear'"):
        MoReID(**parts, dictionary=NegativeDictionary(16, 5), momentum_schedule="linear")
    with pytest.raises(ValueError, match=r"a dictionary of 0 embeddings"):
        NegativeDictionary(0, 5)


def test_past_positives_make_up_for_a_batch_without() -> None:
    model = build(MODEL__MOREID__PAST_POSITIVES=True, DATALOADER__NUM_INSTANCE=1, MODEL__HEADS__NUM_CLASSES=8)
    pids = torch.arange(8)
    assert model({**batch(0), "targets": pids})["loss_he"] == 0
    assert model({**batch(1), "targets": pids})["loss_he"] > 0


def test_images_drawn_whoever_is_on_them_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    build(DATALOADER__SAMPLER_TRAIN="TrainingSampler", MODEL__MOREID__PAST_POSITIVES=True)
    assert "TrainingSampler" not in caplog.text
    build(DATALOADER__SAMPLER_TRAIN="TrainingSampler")
    assert "Take NaiveIdentitySampler" in caplog.text
