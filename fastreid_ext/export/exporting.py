"""From a trained model to a file that does the same."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastreid_ext.export.check import check, random_images
from fastreid_ext.export.errors import ExportError
from fastreid_ext.export.onnx_file import write_onnx
from fastreid_ext.export.program_file import write_program
from fastreid_ext.export.traced import ExportedModel, Preprocessing, trace, without_training_only
from fastreid_ext.export.weights_file import write_weights
from fastreid_ext.inference.checkpoint_embedder import CheckpointEmbedder
from fastreid_ext.inference.open import open_embedder
from fastreid_ext.modeling.checkpoint import CheckpointError
from fastreid_ext.utils.files import check_writable

__all__ = ["FORMATS", "Exported", "export_model", "staged"]

FORMATS = ("onnx", "pt2", "safetensors")
"""Also the suffixes of the files."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of the file.
        differences: from PyTorch's embeddings, by kind of images; see `check.differences`.
    """

    path: Path
    differences: Mapping[str, float]


def export_model(
    model: CheckpointEmbedder,
    path: str | os.PathLike[str],
    *,
    preprocessing: Preprocessing = "inside",
    images: Tensor | None = None,
) -> Exported:
    """Writes a model to a file and compares its embeddings with the model's; what differs is not kept.

    The suffix says what is written: .onnx for onnxruntime, .pt2 for torch without this package, .safetensors for
    weights, which this package reads. Batch norms are folded, and what only training needs is left out.

    Args:
        model: on the CPU.
        path: of the file; an old one is replaced once the new one is found good.
        preprocessing: of .onnx and .pt2: "inside" crops and normalises bytes, "outside" takes what is normalised.
        images: real ones, to compare embeddings of; images of noise always are.

    Shape:
        images: (N, 3, H, W), uint8, with `card.size` as (H, W).

    Raises:
        ExportError: the model cannot be written so, embeddings differ by more than `check.TOLERANCE`, or there are no
            such images.
        ImportError: a package of the extra `export` is not installed.
        OSError: the file cannot be written.
    """
    path = Path(path)
    check_writable(path, "the exported model")
    if images is not None:
        _check_images(images, model.card.size)
    write = _writer(model, path, preprocessing)
    given = {"random": random_images(model.card.size), **({} if images is None else {"real": images})}
    with staged(path) as temporary:
        write(temporary)
        try:
            written = open_embedder(temporary, device="cpu")
        except CheckpointError as error:
            raise ExportError(f"what was written cannot be read again: {str(error).splitlines()[0]}") from error
        found = check(written, model, given)
    return Exported(path, found)


def _check_images(images: Tensor, size: tuple[int, int]) -> None:
    if images.dtype != torch.uint8 or not len(images) or images.shape[1:] != (3, *size):
        raise ExportError(
            f"images to check with are uint8 of shape (N, 3, {size[0]}, {size[1]}), one or more; got "
            f"{tuple(images.shape)} of {images.dtype}"
        )


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary file of the same suffix that takes the place of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        temporary.replace(path)


def _writer(model: CheckpointEmbedder, path: Path, preprocessing: Preprocessing) -> Callable[[Path], None]:
    kind = path.suffix.lower().removeprefix(".")
    if kind == "safetensors":
        return lambda temporary: write_weights(temporary, without_training_only(model.model), model.card)
    if kind not in FORMATS:
        raise ExportError(
            f"{path}: the name of an exported model ends in {', '.join(f'.{known}' for known in FORMATS)}"
        )
    # ONNX knows one layout; what the other needs would be transpositions.
    layout, write = (torch.contiguous_format, write_onnx) if kind == "onnx" else (None, write_program)
    exported = ExportedModel(model, preprocessing=preprocessing, layout=layout)
    return lambda temporary: write(temporary, trace(exported, exported.example), model.card)
