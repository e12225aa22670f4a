"""Exported files do what the model does, and hold nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from exported_models import CLASSES, CROP, SIZE, WIDTH, config, tiny_model
from safetensors import safe_open

from fastreid_ext.data.datasets import build_dataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.evaluation.extraction import extract
from fastreid_ext.export import FORMATS, ExportError, export_model
from fastreid_ext.export.affine import Affine, replace_batch_norms
from fastreid_ext.export.check import differences
from fastreid_ext.export.weights_file import write_weights
from fastreid_ext.inference import CheckpointEmbedder, Embedder, features_of, open_embedder
from fastreid_ext.inference.onnx_embedder import OnnxEmbedder
from fastreid_ext.modeling.inference import prepare_for_inference

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def randomize_statistics(norm: torch.nn.Module) -> None:
    for value in norm.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2.0)


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("kind", FORMATS)
def test_embeddings_and_card_are_the_models(
    kind: str, count: int, model: CheckpointEmbedder, exported: Mapping[str, Path]
) -> None:
    read = open_embedder(exported[kind], device="cpu")
    batch = images(count)
    torch.testing.assert_close(read.embed(batch), model.embed(batch), **CLOSE)
    assert read.embed(batch).shape == (count, WIDTH)
    assert read.card == model.card and read.card.flip and read.card.crop == CROP


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_preprocessing_outside(kind: str, model: CheckpointEmbedder, prepared_outside: Mapping[str, Path]) -> None:
    path, batch = prepared_outside[kind], images(3)
    torch.testing.assert_close(open_embedder(path, device="cpu").embed(batch), model.embed(batch), **CLOSE)
    if kind == "onnx":
        (given,) = onnx.load(path).graph.input
        assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert [size.dim_value for size in given.type.tensor_type.shape.dim][1:] == [3, *CROP]


def test_the_onnx_file_needs_onnxruntime_only(exported: Mapping[str, Path], model: CheckpointEmbedder) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported["onnx"])
    batch = images(5)
    (embeddings,) = session.run(["embeddings"], {"images": batch.numpy()})
    torch.testing.assert_close(torch.from_numpy(embeddings), model.embed(batch), **CLOSE)
    written = onnx.load(exported["onnx"])
    onnx.checker.check_model(written, full_check=True)
    assert "BatchNormalization" not in {node.op_type for node in written.graph.node}


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norms_that_stay_are_factors_and_terms(affine: bool) -> None:
    model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm2d(5, affine=affine))
    randomize_statistics(model[1])
    x = torch.randn(3, 5, 2, 2)
    expected = model.eval()(x)
    replace_batch_norms(model)
    assert isinstance(model[1], Affine)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_only_what_embeds_is_in_the_file(kind: str, exported: Mapping[str, Path], model: CheckpointEmbedder) -> None:
    original = tiny_model(config())
    prepared = prepare_for_inference(original)
    needed = sum(value.nbytes for name, value in prepared.state_dict().items() if name != "heads.weight")
    # The classifier alone would be 480 kB.
    assert CLASSES * WIDTH * 4 > 400_000
    assert needed < exported[kind].stat().st_size < needed + 60_000
    names = " ".join(_weights(exported[kind]))
    assert "backbone" in names
    for part in ("criterion", "heads.weight", "cls_layer", "backbone.1.", "backbone.5."):
        assert part not in names


def test_files_tell_nothing_of_the_machine(exported: Mapping[str, Path]) -> None:
    for path in exported.values():
        assert b"traced.py" not in path.read_bytes()


def test_features_of_a_data_set_are_the_evaluators(exported: Mapping[str, Path], market_folder: Any) -> None:
    cfg = config()
    dataset = build_dataset(f"MarketLayout:{market_folder(train_ids=1, test_ids=3)}")
    expected, _ = extract(cfg, tiny_model(cfg), dataset, stores=ImageStores(device="cpu", threads=1, progress=False))
    for kind in FORMATS:
        found = features_of(open_embedder(exported[kind], device="cpu"), dataset)
        assert found.paths == expected.paths
        torch.testing.assert_close(found.values, expected.values, **CLOSE)


def test_threads_of_onnxruntime(exported: Mapping[str, Path]) -> None:
    for threads, expected in ((3, 3), (None, torch.get_num_threads())):
        options = OnnxEmbedder(exported["onnx"], threads=threads)._session.get_session_options()
        assert options.intra_op_num_threads == expected


def test_what_differs_is_not_kept(model: CheckpointEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"the old one")

    def spoil(temporary: Path, network: torch.nn.Module, card: Any) -> None:
        with torch.no_grad():
            next(network.parameters()).mul_(1.1)
        write_weights(temporary, network, card)

    monkeypatch.setattr("fastreid_ext.export.exporting.write_weights", spoil)
    with pytest.raises(ExportError, match=r"by \d\.\de-\d+ on random images.* more than 0\.0001: it is not kept"):
        export_model(model, path, images=images(2))
    assert path.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [path]


def test_real_images_are_checked_too(model: CheckpointEmbedder, tmp_path: Path) -> None:
    exported = export_model(model, tmp_path / "deeper" / "model.safetensors", images=images(40))
    assert exported.differences.keys() == {"random", "real"}
    assert max(exported.differences.values()) < 1e-6


def test_every_image_is_checked(model: CheckpointEmbedder) -> None:
    seen = images(40)

    class WrongOnce(Embedder):
        def embed(self, batch: torch.Tensor) -> torch.Tensor:
            wrong = (batch == seen[39]).flatten(1).all(1)
            return model.embed(batch) * torch.where(wrong, 1.001, 1.0)[:, None]

    file = WrongOnce(model.card, source="wrong once", device=torch.device("cpu"))
    found = differences(file, model, {"some": seen[:39], "all": seen})
    # A length that is a thousandth too large.
    assert found["some"] == 0 and 1e-5 < found["all"] < 1e-3


@pytest.mark.parametrize(
    "wrong", [torch.zeros(0, 3, *SIZE, dtype=torch.uint8), torch.zeros(2, 3, *SIZE), torch.zeros(2, 3, 4, 4).byte()]
)
def test_images_that_are_none(wrong: torch.Tensor, model: CheckpointEmbedder, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="images to check with are"):
        export_model(model, tmp_path / "model.safetensors", images=wrong)


def test_unknown_suffixes(model: CheckpointEmbedder, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"model\.pb: .* ends in \.onnx, \.pt2, \.safetensors"):
        export_model(model, tmp_path / "model.pb")


def _weights(path: Path) -> list[str]:
    if path.suffix == ".onnx":
        return [initializer.name for initializer in onnx.load(path).graph.initializer]
    if path.suffix == ".pt2":
        return list(torch.export.load(path).state_dict)
    with safe_open(path, framework="pt") as file:
        return list(file.keys())
