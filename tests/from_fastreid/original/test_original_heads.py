"""FastReID's poolings, norms, classification layers, heads and models on the same weights, and where ours differ."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fastreid.layers import any_softmax, get_norm
from fastreid.layers import pooling as original_pooling
from fastreid.modeling.heads import build_heads as build_original_heads
from fastreid.modeling.meta_arch import build_model as build_original_model
from fastreid.utils.events import EventStorage
from side_by_side import original_config, randomize
from torch import Tensor, nn

from fastreid_ext.config import load_config
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.heads import build_heads
from fastreid_ext.modeling.layers import build_norm
from fastreid_ext.modeling.layers.cls import CLS_LAYERS
from fastreid_ext.modeling.layers.pooling import build_pooling

PIDS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
CLS = ["Linear", "CosSoftmax", "ArcSoftmax", "CircleSoftmax"]


def close(theirs: Tensor, ours: Tensor, tolerance: float = 1e-5) -> bool:
    return theirs.shape == ours.shape and bool((theirs - ours).abs().max() <= tolerance * max(1, theirs.abs().max()))


@pytest.mark.parametrize("name", original_pooling.__all__)
def test_poolings(name: str) -> None:
    theirs, ours = getattr(original_pooling, name)(), build_pooling(name)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    maps = torch.randn(4, 6, 5, 3)
    expected, found = theirs(maps), ours(maps)
    # Flatten is torch's here: two dimensions.
    assert close(expected.flatten(1), found.flatten(1))
    assert expected.shape == found.shape or name == "Flatten"


@pytest.mark.parametrize("name", ["BN", "syncBN", "GhostBN", "FrozenBN", "GN"])
def test_norms(name: str) -> None:
    theirs: nn.Module = get_norm(name, 64)
    ours = build_norm(name, 64)
    with torch.no_grad():
        for value in theirs.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
    counter = {key: value for key, value in ours.state_dict().items() if key.endswith("num_batches_tracked")}
    ours.load_state_dict({**counter, **theirs.state_dict()}, strict=True)
    maps = torch.randn(8, 64, 4, 2)
    for training in (True, False):
        # FastReID's syncBN trains on GPUs only.
        if not (name == "syncBN" and training):
            assert close(theirs.train(training)(maps), ours.train(training)(maps))
    own = ours.state_dict()
    assert all(close(value, own[key]) for key, value in theirs.state_dict().items() if value.is_floating_point())


@pytest.mark.parametrize("name", CLS)
@pytest.mark.parametrize("margin", [0.0, 0.35])
def test_classification_layers(name: str, margin: float) -> None:
    cosines = 1.9 * torch.rand(8, 5) - 0.95
    pids = PIDS.clone()
    # Of no class of this process.
    pids[0] = -1
    theirs = getattr(any_softmax, name)(5, 30.0, margin)
    ours = CLS_LAYERS.get(name)(5, scale=30.0, margin=margin)
    assert close(theirs(cosines.clone(), pids), ours(cosines, pids))


def head_options(*more: Any) -> list[Any]:
    options = {"FEAT_DIM": 32, "EMBEDDING_DIM": 0, "NUM_CLASSES": 5, "WITH_BNNECK": True, "SCALE": 16, "MARGIN": 0.2}
    given = [[f"MODEL.{'BACKBONE' if key == 'FEAT_DIM' else 'HEADS'}.{key}", value] for key, value in options.items()]
    return [part for pair in given for part in pair] + list(more)


@pytest.mark.parametrize("cls_layer", CLS)
@pytest.mark.parametrize("neck_feat", ["before", "after"])
@pytest.mark.parametrize("embedding_dim", [0, 12])
@pytest.mark.parametrize("name", ["EmbeddingHead", "ClasHead"])
def test_heads(name: str, embedding_dim: int, neck_feat: str, cls_layer: str) -> None:
    options = head_options("MODEL.HEADS.NAME", name, "MODEL.HEADS.CLS_LAYER", cls_layer)
    options += ["MODEL.HEADS.EMBEDDING_DIM", embedding_dim, "MODEL.HEADS.NECK_FEAT", neck_feat]
    theirs, ours = build_original_heads(original_config(options=options)), build_heads(load_config("", options), 32)
    maps = torch.randn(8, 32, 4, 2)
    randomize(theirs, maps)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert close(theirs.eval()(maps), ours.eval()(maps))
    expected, found = theirs.train()(maps, PIDS), ours.train()(maps, PIDS)
    assert close(expected["cls_outputs"], found["cls_outputs"])
    assert close(expected["pred_class_logits"], found["pred_class_logits"])
    if name == "ClasHead" and neck_feat == "before":
        # FastReID's ClasHead passes over NECK_FEAT.
        assert close(maps.mean((2, 3)), found["features"])
    else:
        assert close(expected["features"], found["features"])


def both_models(*options: Any) -> tuple[nn.Module, nn.Module]:
    """Of the same weights."""
    given = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 5, *options]
    theirs, ours = build_original_model(original_config(options=given)), build_model(load_config("", given))
    randomize(theirs, 255 * torch.rand(8, 3, 128, 32))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def losses(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    with EventStorage(0):
        found: dict[str, Tensor] = model.train()({"images": images.clone(), "targets": PIDS.clone()})
    return found


ALL_LOSSES = ["MODEL.LOSSES.NAME", ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")]
HARD = ["MODEL.LOSSES.TRI.HARD_MINING", True, "MODEL.LOSSES.CE.EPSILON", 0.1, "MODEL.LOSSES.TRI.SCALE", 0.5]


def test_baseline() -> None:
    theirs, ours = both_models("MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512, *ALL_LOSSES, *HARD)
    images = 255 * torch.rand(8, 3, 64, 32)
    assert close(theirs.eval()(images.clone()), ours.eval()(images))
    expected, found = losses(theirs, images), losses(ours, images)
    assert expected.keys() == found.keys()
    assert all(torch.allclose(value, found[name], rtol=1e-4, atol=1e-5) for name, value in expected.items())


def test_mgn() -> None:
    options = ["MODEL.META_ARCHITECTURE", "MGN", "MODEL.BACKBONE.DEPTH", "50x", "MODEL.HEADS.EMBEDDING_DIM", 8]
    theirs, ours = both_models(*options, "MODEL.LOSSES.NAME", ("CrossEntropyLoss", "TripletLoss"), *HARD)
    images = 255 * torch.rand(8, 3, 128, 32)
    assert close(theirs.eval()(images.clone()), ours.eval()(images))
    expected, found = losses(theirs, images), losses(ours, images)
    # Theirs are named otherwise; what is minimised is their sum.
    assert len(expected) == len(found)
    assert torch.allclose(sum(expected.values()), sum(found.values()), rtol=1e-4)
