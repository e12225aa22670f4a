"""Models of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest
import torch
from exported_models import SIZE

from fastreid_ext.export import ExportError
from fastreid_ext.export.int8 import quantize
from fastreid_ext.inference import CheckpointEmbedder, open_embedder


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (20, 3, *SIZE), dtype=torch.uint8)


def test_embeddings_are_near_and_have_a_fingerprint_of_their_own(
    exported: Mapping[str, Path], model: CheckpointEmbedder, images: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "model.int8.onnx"
    quantize(exported["onnx"], path, images)
    read = open_embedder(path, device="cpu")
    ours, theirs = read.embed(images), model.embed(images)
    assert torch.cosine_similarity(ours, theirs).min() > 0.99
    assert not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert read.card.fingerprint != model.card.fingerprint
    assert read.card == model.card.changed(fingerprint=read.card.fingerprint)
    weights = {initializer.data_type for initializer in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.INT8 in weights
    quantize(exported["onnx"], tmp_path / "again.onnx", images)
    assert open_embedder(tmp_path / "again.onnx", device="cpu").card == read.card
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.onnx", "model.int8.onnx"]
    quantize(exported["onnx"], tmp_path / "again.onnx", images // 2)
    assert open_embedder(tmp_path / "again.onnx", device="cpu").card.fingerprint != read.card.fingerprint


def test_preprocessing_outside_is_calibrated_with_what_the_model_takes(
    model: CheckpointEmbedder, prepared_outside: Mapping[str, Path], images: torch.Tensor, tmp_path: Path
) -> None:
    quantize(prepared_outside["onnx"], tmp_path / "int8.onnx", images)
    read = open_embedder(tmp_path / "int8.onnx", device="cpu")
    assert torch.cosine_similarity(read.embed(images), model.embed(images)).min() > 0.99


def test_no_images(exported: Mapping[str, Path], images: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="INT8 is calibrated with images, and there are none"):
        quantize(exported["onnx"], tmp_path / "model.onnx", images[:0])
