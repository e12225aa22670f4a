from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling import BACKBONES, build_model
from fastreid_ext.modeling.heads import EmbeddingHead
from fastreid_ext.modeling.losses import Criterion, CrossEntropyLoss, TripletLoss
from fastreid_ext.modeling.meta_arch import Baseline, choose_device
from fastreid_ext.registry import RegistryError

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)


class TinyBackbone(nn.Sequential):
    feature_dim = 16

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())


def model(**options: Any) -> Baseline:
    torch.manual_seed(0)
    return Baseline(
        backbone=TinyBackbone(),
        heads=EmbeddingHead(feature_dim=16, num_classes=4, with_bnneck=True),
        criterion=Criterion(losses=[CrossEntropyLoss(), TripletLoss()]),
        pixel_mean=MEAN,
        pixel_std=STD,
        **options,
    )


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pids = torch.arange(8) // 2
    colours = torch.randint(0, 200, (4, 3, 1, 1), generator=generator)
    images = colours[pids] + torch.randint(0, 56, (8, 3, 16, 8), generator=generator)
    return {"images": images.to(torch.uint8), "targets": pids}


def test_training_lowers_the_losses() -> None:
    module = model()
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    totals = []
    for _ in range(20):
        losses = module(batch())
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert set(losses) == {"loss_cls", "loss_triplet"}
    assert totals[-1] < totals[0] / 2


def test_evaluation_embeds_a_batch_or_images() -> None:
    module = model().eval()
    embeddings = module(batch())
    assert embeddings.shape == (8, 16)
    torch.testing.assert_close(module(batch()["images"]), embeddings)
    torch.testing.assert_close(module(batch()["images"].float()), embeddings)


def test_images_are_normalised_once_and_left_alone() -> None:
    module = model().eval()
    images = batch()["images"].float()
    before = images.clone()
    normalized = module.normalize(images)
    for channel in range(3):
        torch.testing.assert_close(normalized[:, channel], (before[:, channel] - MEAN[channel]) / STD[channel])
    first, second = module(images), module(images)
    assert torch.equal(first, second)
    assert torch.equal(images, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_take_the_type_of_the_weights(dtype: torch.dtype) -> None:
    module = model().to(dtype).eval()
    assert module(batch()).dtype == dtype


def test_channels_last_gives_the_same_embeddings() -> None:
    module = model(channels_last=True).eval()
    assert module.normalize(batch()["images"]).is_contiguous(memory_format=torch.channels_last)
    assert next(module.backbone.parameters()).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(module(batch()), model().eval()(batch()))


def test_pixel_statistics_are_not_saved() -> None:
    names = set(model().state_dict())
    assert {name.split(".")[0] for name in names} == {"backbone", "heads"}
    assert "heads.weight" in names


def test_training_needs_targets_and_losses() -> None:
    with pytest.raises(ValueError, match="'targets'"):
        model()(batch()["images"])
    with pytest.raises(ValueError, match="'targets'"):
        model()({"images": batch()["images"]})
    lossless = Baseline(backbone=TinyBackbone(), heads=EmbeddingHead(feature_dim=16, num_classes=4))
    with pytest.raises(ValueError, match="criterion"):
        lossless(batch())


@pytest.fixture
def cfg(monkeypatch: pytest.MonkeyPatch) -> CfgNode:
    monkeypatch.setattr(BACKBONES, "get", lambda name: lambda *args, **kwargs: TinyBackbone())
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "TripletLoss", "CircleLoss")
    return cfg


def test_a_model_is_built_from_the_config(cfg: CfgNode) -> None:
    cfg.MODEL.CHANNELS_LAST = True
    module = build_model(cfg)
    assert isinstance(module, Baseline)
    assert set(module(batch())) == {"loss_cls", "loss_triplet", "loss_circle"}
    torch.testing.assert_close(module.pixel_mean.flatten().tolist(), cfg.MODEL.PIXEL_MEAN)
    assert module.normalize(batch()["images"]).is_contiguous(memory_format=torch.channels_last)
    assert module.eval()(batch()).shape == (8, 16)


def test_wrong_names_in_the_config_are_errors(cfg: CfgNode) -> None:
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLos",)
    with pytest.raises(RegistryError, match="Did you mean CrossEntropyLoss"):
        build_model(cfg)
    cfg.MODEL.META_ARCHITECTURE = "BaseLine"
    with pytest.raises(RegistryError, match="Did you mean Baseline"):
        build_model(cfg)


def test_the_device_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"sees none .* cpu or auto"):
        choose_device("cuda")
    with pytest.raises(ConfigError, match="is no device"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="only 2"):
        choose_device("cuda:2")
