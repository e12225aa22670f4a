"""ONNX files that compute with bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from fastreid_ext.export.errors import ExportError
from fastreid_ext.export.exporting import staged
from fastreid_ext.export.onnx_file import save_with_card
from fastreid_ext.export.traced import quiet
from fastreid_ext.inference.onnx_embedder import INPUT, OnnxEmbedder
from fastreid_ext.utils.env import require

__all__ = ["quantize"]

# Few enough that the activations of a batch fit into memory.
_BATCH = 16
_DIGITS = 16


def quantize(model: str | os.PathLike[str], path: str | os.PathLike[str], images: Tensor) -> None:
    """Writes an ONNX model whose convolutions and products work on 8-bit integers: onnxruntime's static quantisation.

    Weights have a scale for each output channel, activations one for each tensor, from their range over images. The
    embeddings are others, and so is the fingerprint of the card: galleries and thresholds are to be made anew.

    Args:
        model: an ONNX file that `export_model` wrote.
        path: of the file to write.
        images: to calibrate with, such as some hundred of the training set.

    Shape:
        images: (N, 3, H, W), uint8, with `card.size` as (H, W).

    Raises:
        ExportError: there are no images, or onnxruntime cannot quantise the model.
        CheckpointError, CardError: the ONNX file cannot be read, or is not of this package.
        ImportError: onnx or onnxruntime is not installed.
        OSError: the file cannot be written.
    """
    onnx = require("onnx", "export", "INT8")
    quantization = require("onnxruntime.quantization", "export", "INT8")
    source = OnnxEmbedder(model)
    if not len(images):
        raise ExportError("INT8 is calibrated with images, and there are none")
    path = Path(path)
    with staged(path) as temporary, tempfile.TemporaryDirectory() as folder:
        simplified = Path(folder) / "simplified.onnx"
        try:
            with quiet():
                quantization.shape_inference.quant_pre_process(os.fspath(model), simplified, skip_symbolic_shape=True)
                quantization.quantize_static(
                    simplified,
                    temporary,
                    _reader(source, images),
                    quant_format=quantization.QuantFormat.QDQ,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    per_channel=True,
                )
        # Which errors it raises, onnxruntime does not say.
        except Exception as error:
            raise ExportError(f"onnxruntime cannot quantise {os.fspath(model)}: {error}") from error
        quantized = onnx.load(temporary)
        digest = hashlib.sha256(source.card.fingerprint.encode())
        for initializer in quantized.graph.initializer:
            digest.update(initializer.SerializeToString())
        save_with_card(temporary, quantized, source.card.changed(fingerprint=digest.hexdigest()[:_DIGITS]))


def _reader(model: OnnxEmbedder, images: Tensor) -> Any:
    """What onnxruntime asks for batches, prepared as the model takes them."""
    base = require("onnxruntime.quantization", "export", "INT8").CalibrationDataReader

    class Reader(base):  # type: ignore[misc, valid-type]  # the package may be missing
        def __init__(self) -> None:
            self._batches = iter([images[i : i + _BATCH] for i in range(0, len(images), _BATCH)])

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: model.prepared(batch).copy()}

    return Reader()
