"""Models in ONNX files."""

from __future__ import annotations

import os
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.inference.embedder import Embedder
from fastreid_ext.inference.exported import CARD_KEY, exported_card, preparation
from fastreid_ext.modeling.checkpoint import CheckpointError
from fastreid_ext.utils.env import require
from fastreid_ext.utils.logger import get_logger

__all__ = ["INPUT", "OUTPUT", "OnnxEmbedder"]

INPUT, OUTPUT = "images", "embeddings"

_CUDA = "CUDAExecutionProvider"


class OnnxEmbedder(Embedder):
    """A model that onnxruntime computes.

    Args:
        path: of a file that `export_model` wrote.
        device: a GPU needs the package onnxruntime-gpu; without, the CPU computes.
        threads: of one operator; None for as many as torch uses.

    Raises:
        CheckpointError: onnxruntime cannot read the file.
        CardError: it does not say how its model embeds images.
        ImportError: onnxruntime is not installed.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, device: torch.device | None = None, threads: int | None = None
    ) -> None:
        runtime = require("onnxruntime", "export", "a model in an ONNX file")
        source, device = os.fspath(path), _usable(device or torch.device("cpu"), runtime)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(source, options, providers=_providers(device))
        # Its errors have no common base, and their messages tell.
        except Exception as error:
            raise CheckpointError(f"onnxruntime cannot read {source}: {error}") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        super().__init__(exported_card(metadata.get(CARD_KEY), source), source=source, device=device)
        takes_bytes = self._session.get_inputs()[0].type == "tensor(uint8)"
        self._preparation = None if takes_bytes else preparation(self.card)

    def embed(self, images: Tensor) -> Tensor:
        if not len(images):
            return torch.empty(0, self.card.dim)
        (embeddings,) = self._session.run([OUTPUT], {INPUT: self.prepared(images)})
        return torch.from_numpy(embeddings)

    def prepared(self, images: Tensor) -> NDArray[Any]:
        """What the file's model takes: the images themselves, or cropped and normalised, as it was exported.

        Shape:
            images: (B, 3, H, W), uint8, with `card.size` as (H, W).
            Result: (B, 3, H', W').
        """
        given = images.cpu() if self._preparation is None else self._preparation(images.cpu())
        values: NDArray[Any] = given.contiguous().numpy()
        return values


def _usable(device: torch.device, runtime: Any) -> torch.device:
    if device.type == "cuda" and _CUDA not in runtime.get_available_providers():
        get_logger(__name__).warning("this onnxruntime has no CUDA, the CPU computes: pip install onnxruntime-gpu")
        return torch.device("cpu")
    return device


def _providers(device: torch.device) -> list[Any]:
    own = [(_CUDA, {"device_id": device.index or 0})] if device.type == "cuda" else []
    return [*own, "CPUExecutionProvider"]
