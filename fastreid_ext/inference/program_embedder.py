"""Models in packages of torch.export."""

from __future__ import annotations

import os
import warnings

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from fastreid_ext.inference.embedder import Embedder
from fastreid_ext.inference.exported import CARD_KEY, exported_card, preparation
from fastreid_ext.modeling.checkpoint import CheckpointError

__all__ = ["CARD_FILE", "ProgramEmbedder"]

CARD_FILE = f"{CARD_KEY}.json"


class ProgramEmbedder(Embedder):
    """A traced model that torch computes, without the code that it was made of.

    Args:
        path: of a file that `export_model` wrote.
        device: where to.

    Raises:
        CheckpointError: torch cannot read the file; another version of torch may have written it.
        CardError: it does not say how its model embeds images.
    """

    def __init__(self, path: str | os.PathLike[str], *, device: torch.device | None = None) -> None:
        source, device = os.fspath(path), device or torch.device("cpu")
        files = {CARD_FILE: ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.load(source, extra_files=files)
        # torch raises errors of many kinds for what is not whole, or of another version.
        except Exception as error:
            raise CheckpointError(
                f"torch {torch.__version__} cannot read {source}: {type(error).__name__}: {error}"
            ) from error
        super().__init__(exported_card(files[CARD_FILE], source), source=source, device=device)
        self._preparation = None if _takes_bytes(program) else preparation(self.card)
        if device.type != "cpu":
            program = move_to_device_pass(program, device)
        self._model = program.module()

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        if not len(images):
            return torch.empty(0, self.card.dim)
        given = images.to(self.device)
        embeddings: Tensor = self._model(given if self._preparation is None else self._preparation(given))
        return embeddings.cpu()


def _takes_bytes(program: ExportedProgram) -> bool:
    (name,) = program.graph_signature.user_inputs
    node = next(node for node in program.graph.nodes if node.name == name)
    return bool(node.meta["val"].dtype == torch.uint8)
