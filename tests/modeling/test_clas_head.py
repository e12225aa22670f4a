"""The head that classifies in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, normalize

from fastreid_ext.config import get_cfg
from fastreid_ext.modeling.heads import ClasHead, EmbeddingHead, build_heads, without_classifier
from fastreid_ext.modeling.layers.cls import CLS_LAYERS

PIDS = torch.tensor([0, 1, 2, 0, 1, 2])


def maps() -> Tensor:
    return torch.rand(6, 8, 4, 2, generator=torch.Generator().manual_seed(0))


def pair(**options: Any) -> tuple[ClasHead, EmbeddingHead]:
    """A head and an `EmbeddingHead` of the same weights."""
    ours, embedding = (kind(feature_dim=8, num_classes=3, **options) for kind in (ClasHead, EmbeddingHead))
    ours.load_state_dict(embedding.state_dict(), strict=True)
    return ours, embedding


@pytest.mark.parametrize("cls_layer", ["Linear", "CosSoftmax", "ArcSoftmax", "CircleSoftmax"])
def test_evaluation_gives_scaled_logits_without_margin(cls_layer: str) -> None:
    layer = CLS_LAYERS.get(cls_layer)(3, scale=7.0, margin=0.3)
    ours, embedding = pair(embedding_dim=5, with_bnneck=True, cls_layer=layer)
    embeddings = embedding.eval()(maps())
    if cls_layer == "Linear":
        expected = linear(embeddings, embedding.weight)
    else:
        expected = linear(normalize(embeddings), normalize(embedding.weight))
    assert torch.allclose(ours.eval()(maps()), 7 * expected, atol=1e-6)


def test_training_is_that_of_an_embedding_head() -> None:
    ours, embedding = pair(with_bnneck=True, neck_feat="after")
    expected, found = embedding(maps(), PIDS), ours(maps(), PIDS)
    assert set(found) == {"cls_outputs", "pred_class_logits", "features"}
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_cosines_are_exact_under_autocast() -> None:
    ours, _ = pair(cls_layer=CLS_LAYERS.get("CosSoftmax")(3, scale=30.0))
    expected = ours.eval()(maps())
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(maps())
    assert found.dtype == torch.float32 and torch.allclose(found, expected, atol=1e-4)


def test_from_a_config() -> None:
    cfg = get_cfg()
    cfg.merge_from_mapping({"MODEL": {"HEADS": {"NAME": "ClasHead", "NUM_CLASSES": 4, "EMBEDDING_DIM": 5}}})
    head = build_heads(cfg, 8)
    assert isinstance(head, ClasHead)
    assert head.eval()(maps()).shape == (6, 4)
    assert set(without_classifier(head).train()(maps(), PIDS)) == {"features"}


def test_no_classes_no_logits() -> None:
    with pytest.raises(ValueError, match=r"can neither be trained nor classify: set MODEL\.HEADS\.NUM_CLASSES"):
        ClasHead(feature_dim=8).eval()(maps())
