"""MGN's structure: state names, copies, stripes, embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from batch_norms import randomize_batch_norms
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling import build_backbone, build_model
from fastreid_ext.modeling.folding import fold_batch_norms
from fastreid_ext.modeling.inference import prepare_for_inference
from fastreid_ext.modeling.meta_arch import MGN

HEADS = ("b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def config(depth: str = "18x", **backbone: Any) -> CfgNode:
    cfg = get_cfg()
    model = {
        "META_ARCHITECTURE": "MGN",
        "DEVICE": "cpu",
        "BACKBONE": {"DEPTH": depth, **backbone},
        "HEADS": {"NUM_CLASSES": 4, "EMBEDDING_DIM": 8, "WITH_BNNECK": True},
        "LOSSES": {"NAME": ("CrossEntropyLoss", "TripletLoss")},
    }
    cfg.merge_from_mapping({"MODEL": model})
    return cfg


def build(depth: str = "18x", **backbone: Any) -> MGN:
    model = build_model(config(depth, **backbone))
    assert isinstance(model, MGN)
    return model


def images(count: int = 4, height: int = 64, width: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width)).float()


def block_names(prefix: str, *, ibn: bool, first: bool) -> set[str]:
    """State of a block of three convolutions."""
    norms = ["bn2", "bn3", *(["bn1.BN"] if ibn else ["bn1"]), *(["downsample.1"] if first else [])]
    convolutions = ["conv1", "conv2", "conv3", *(["downsample.0"] if first else [])]
    names = {f"{norm}.{part}" for norm in norms for part in BATCH_NORM}
    names |= {f"{convolution}.weight" for convolution in convolutions}
    names |= {"bn1.IN.weight", "bn1.IN.bias"} if ibn else set()
    return {f"{prefix}.{name}" for name in names}


@pytest.mark.parametrize("ibn", [False, True])
@pytest.mark.parametrize(("depth", "blocks"), [("50x", (3, 4, 6, 3)), ("152x", (3, 8, 36, 3))])
def test_state_names_are_those_of_fastreids_checkpoints(depth: str, blocks: tuple[int, ...], ibn: bool) -> None:
    expected = {"backbone.0.weight"} | {f"backbone.1.{part}" for part in BATCH_NORM}
    for place, count in ((4, blocks[0]), (5, blocks[1])):
        for index in range(count):
            expected |= block_names(f"backbone.{place}.{index}", ibn=ibn, first=index == 0)
    expected |= block_names("backbone.6", ibn=ibn, first=True)
    for branch in ("b1", "b2", "b3"):
        for index in range(blocks[2] - 1):
            expected |= block_names(f"{branch}.0.{index}", ibn=ibn, first=False)
        for index in range(blocks[3]):
            expected |= block_names(f"{branch}.1.{index}", ibn=False, first=index == 0)
    for name in HEADS:
        expected |= {f"{name}_head.weight", f"{name}_head.bottleneck.0.weight"}
        expected |= {f"{name}_head.bottleneck.1.{part}" for part in BATCH_NORM}
    with torch.device("meta"):
        model = MGN(config(depth, WITH_IBN=ibn))
    assert set(model.state_dict()) == expected
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["b1_head.weight"] == (4, 8) and shapes["b33_head.bottleneck.0.weight"] == (8, 2048, 1, 1)


@pytest.mark.parametrize("last_stride", [1, 2])
@pytest.mark.parametrize("options", [{}, {"WITH_SE": True}, {"WITH_IBN": True}, {"depth": "50x"}])
def test_copies_are_equal_and_independent(options: dict[str, Any], last_stride: int) -> None:
    model = build(**options, LAST_STRIDE=last_stride)
    states = [model.get_submodule(branch).state_dict() for branch in ("b1", "b2", "b3")]
    for name, value in states[0].items():
        assert all(torch.equal(value, state[name]) for state in states)
        assert len({state[name].data_ptr() for state in states}) == 3
    shared = model.backbone(images(1))
    heights = [model.get_submodule(branch)(shared).shape[2] for branch in ("b1", "b2", "b3")]
    assert heights == [4 // last_stride, 4, 4]


def test_each_branch_behind_the_trunk_is_the_whole_network() -> None:
    torch.manual_seed(0)
    whole = build_backbone(config()).eval()
    torch.manual_seed(0)
    model = build().eval()
    x = torch.randn(2, 3, 64, 32)
    for branch in ("b1", "b2", "b3"):
        torch.testing.assert_close(model.get_submodule(branch)(model.backbone(x)), whole(x))


def test_pretrained_weights_are_in_every_copy(tmp_path: Path) -> None:
    weights = build_backbone(config()).state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    torch.manual_seed(1)
    state = build(PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "weights.pth")).state_dict()
    pairs = {"conv1.": ["backbone.0."], "bn1.": ["backbone.1."], "layer1.": ["backbone.4."], "layer2.": ["backbone.5."]}
    pairs |= {"layer3.0.": ["backbone.6."], "layer3.1.": ["b1.0.0.", "b2.0.0.", "b3.0.0."]}
    pairs |= {"layer4.": ["b1.1.", "b2.1.", "b3.1."]}
    compared = set()
    for source, targets in pairs.items():
        for name, value in weights.items():
            if name.startswith(source):
                for target in targets:
                    compared.add(target + name.removeprefix(source))
                    assert torch.equal(state[target + name.removeprefix(source)], value)
    assert compared == {name for name in state if "_head." not in name}


def test_the_embedding_is_whole_maps_then_halves_then_thirds() -> None:
    model = build().eval()
    randomize_batch_norms(model)
    # Six rows, so that halves have three and thirds two.
    x = images(2, height=96)
    with torch.no_grad():
        shared = model.backbone(model.normalize(x))
        b1, b2, b3 = (model.get_submodule(branch)(shared) for branch in ("b1", "b2", "b3"))
        assert b1.shape == (2, 512, 6, 2)
        maps = (b1, b2, b3, b2[:, :, :3], b2[:, :, 3:], b3[:, :, :2], b3[:, :, 2:4], b3[:, :, 4:])
        expected = [model.get_submodule(f"{name}_head")(part) for name, part in zip(HEADS, maps, strict=True)]
        embeddings = model(x)
    assert embeddings.shape == (2, 64)
    torch.testing.assert_close(embeddings, torch.cat(expected, dim=1))
    torch.testing.assert_close(model.eval()({"images": x.to(torch.uint8)}), embeddings)


def test_the_embedding_has_2048_dimensions_as_fastreids() -> None:
    cfg = config("50x")
    cfg.MODEL.HEADS.EMBEDDING_DIM = 256
    with torch.no_grad():
        assert build_model(cfg).eval()(images(1)).shape == (1, 2048)


@pytest.mark.parametrize(
    ("rows", "halves", "thirds"),
    [
        (24, [12, 12], [8, 8, 8]),
        (16, [8, 8], [6, 6, 4]),
        (7, [4, 3], [3, 3, 1]),
        (5, [3, 2], [2, 2, 1]),
        # Rounding up would leave two stripes of two rows.
        (4, [2, 2], [2, 1, 1]),
        (3, [2, 1], [1, 1, 1]),
    ],
)
def test_stripes_of_any_height(rows: int, halves: list[int], thirds: list[int]) -> None:
    shared = torch.arange(float(rows)).view(1, 1, rows, 1)
    model = MGN(
        backbone=nn.Identity(), necks=[nn.Identity() for _ in range(3)], heads={name: nn.Flatten() for name in HEADS}
    )
    embedding = model.embed(shared)[0]
    sizes = [rows, rows, rows, *halves, *thirds]
    parts = dict(zip(HEADS, embedding.split(sizes), strict=True))
    everything = list(range(rows))
    assert parts["b1"].tolist() == parts["b2"].tolist() == parts["b3"].tolist() == everything
    assert torch.cat([parts["b21"], parts["b22"]]).tolist() == everything
    assert torch.cat([parts["b31"], parts["b32"], parts["b33"]]).tolist() == everything


def test_images_that_are_too_low_are_explained() -> None:
    with pytest.raises(ConfigError, match=r"3 stripes, but these have 2 rows: set INPUT.SIZE_TRAIN"):
        build().eval()(images(1, height=32))


def test_models_for_inference_give_the_same() -> None:
    model = build(WITH_IBN=True)
    randomize_batch_norms(model)
    for head in HEADS:
        nn.init.zeros_(model.get_submodule(f"{head}_head.bottleneck.1").bias)
    model.double().eval()
    x = images(2).double()
    prepared = prepare_for_inference(model)
    left = [name for name, module in prepared.named_modules() if isinstance(module, nn.BatchNorm2d)]
    # Those of IBN see half of what a convolution gives.
    assert left and all(name.endswith(".bn1.BN") for name in left)
    with torch.no_grad():
        torch.testing.assert_close(prepared(x), model(x), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(fold_batch_norms(model)(x), model(x), rtol=1e-9, atol=1e-9)
    assert prepared.criterion is None and prepared.memory_format == torch.channels_last


def test_what_mgn_cannot_be_built_of_is_explained() -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=r"set MODEL.BACKBONE.WITH_NL False"):
        MGN(config("50x", WITH_NL=True))
    with torch.device("meta"), pytest.raises(ConfigError, match=r"NAME to build_resnet_backbone, not OSNet"):
        MGN(config("x0_25", NAME="OSNet"))


def test_images_are_normalised_as_the_config_says() -> None:
    model = build()
    mean, std = (torch.tensor(config().MODEL[key]) for key in ("PIXEL_MEAN", "PIXEL_STD"))
    expected = (images().mul(0).add(7.0) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(model.preprocess(torch.full((4, 3, 64, 32), 7.0)), expected)
