"""What cannot be exported, and files that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest
import torch
from exported_models import embedder
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastreid_ext.export import ExportError, export_model
from fastreid_ext.export.check import check
from fastreid_ext.export.onnx_file import caller
from fastreid_ext.export.traced import ExportedModel, trace
from fastreid_ext.inference import CardError, CheckpointEmbedder, Embedder, open_embedder
from fastreid_ext.modeling.checkpoint import CheckpointError


@torch.library.custom_op("export_tests::twist", mutates_args=())
def twist(x: Tensor) -> Tensor:
    return x.flip(0)


@twist.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class MadeUp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return twist(x) + 1


class Decomposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x[..., :4, :4])[..., None]


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)


class Counted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 8, *x.shape[2:])


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (MadeUp(), r"no counterpart of the operator export_tests\.twist, which model\.backbone\.3 \(MadeUp\) calls"),
        (Branch(), r"model\.backbone\.3 \(Branch\) raised .*no branches on values"),
        (Numpy(), r"model\.backbone\.3 \(Numpy\) raised .*no NumPy"),
        (Counted(), r"model\.backbone\.3 \(Counted\) fixes the number of images: take x\.shape\[0\]"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_onnx_or_the_tracer_cannot_do(
    part: nn.Module, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = embedder(part)
    with pytest.raises(ExportError, match=said) as raised:
        export_model(model, tmp_path / "model.onnx")
    assert len(str(raised.value)) < 500 and "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_operators_that_others_are_made_of_are_found() -> None:
    model = ExportedModel(embedder(Decomposed()))
    program = trace(model, model.example)
    assert caller("aten._linalg_eigh", program) == "model.backbone.3 (Decomposed)"
    assert caller("aten.nothing", program) == ""


def test_torch_export_takes_what_onnx_does_not(tmp_path: Path) -> None:
    model = embedder(MadeUp())
    assert export_model(model, tmp_path / "model.pt2").differences["random"] < 1e-6


class _Broken(Embedder):
    """As the model, but for one value."""

    def __init__(self, model: Embedder) -> None:
        super().__init__(model.card, source="", device=model.device)
        self._model = model

    def embed(self, images: Tensor) -> Tensor:
        embeddings = self._model.embed(images).clone()
        if len(images) == 7:
            embeddings[3, 2] = torch.nan
        return embeddings


def test_nan_is_no_small_difference(model: CheckpointEmbedder) -> None:
    images = torch.randint(0, 256, (40, 3, *model.card.size), dtype=torch.uint8)
    with pytest.raises(ExportError, match="differ from PyTorch's by nan on random images, more"):
        check(_Broken(model), model, {"random": images, "real": images[:3]})


@pytest.mark.parametrize("kind", ["onnx", "pt2", "safetensors"])
def test_files_that_are_cut_short(kind: str, exported: Mapping[str, Path], tmp_path: Path) -> None:
    path = tmp_path / f"short.{kind}"
    path.write_bytes(exported[kind].read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=rf"cannot read .*short\.{kind}"):
        open_embedder(path, device="cpu")


def test_files_of_other_programs(exported: Mapping[str, Path], tmp_path: Path) -> None:
    model = onnx.load(exported["onnx"])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    save_file(load_file(exported["safetensors"]), tmp_path / "other.safetensors")
    program = torch.export.load(exported["pt2"])
    torch.export.save(program, tmp_path / "other.pt2")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(CardError, match=rf"{path.name} does not say how its model embeds images"):
            open_embedder(path, device="cpu")


def test_weights_that_do_not_fit_their_config(
    exported: Mapping[str, Path], model: CheckpointEmbedder, tmp_path: Path
) -> None:
    path, metadata = tmp_path / "model.safetensors", {"fastreid_ext": model.card.to_json()}
    weights = load_file(exported["safetensors"])
    some = {name: value for name, value in weights.items() if name != "backbone.4.bias"}
    for changed, said in (
        (some, r"do not fit its config: backbone\.4\.bias$"),
        ({**weights, "backbone.9.weight": torch.zeros(1)}, r"do not fit its config: backbone\.9\.weight$"),
        ({**weights, "backbone.4.bias": torch.zeros(1)}, r"do not fit its config: size mismatch for backbone"),
    ):
        save_file(changed, path, metadata=metadata)
        with pytest.raises(CheckpointError, match=said):
            open_embedder(path, device="cpu")
    save_file(weights, path, metadata={"fastreid_ext": json.dumps({"size": 3})})
    with pytest.raises(CardError, match=r"model\.safetensors does not say"):
        open_embedder(path, device="cpu")
