"""Models as graphs of tensor operations."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Graph, GraphModule
from torchvision.transforms.v2.functional import center_crop

from fastreid_ext.export.affine import replace_batch_norms
from fastreid_ext.export.calls import Calls
from fastreid_ext.export.errors import ExportError
from fastreid_ext.inference.checkpoint_embedder import CheckpointEmbedder
from fastreid_ext.modeling.checkpoint import weights_of_training_only
from fastreid_ext.modeling.meta_arch import ReIDModel

__all__ = ["ExportedModel", "Preprocessing", "quiet", "trace", "without_training_only"]

Preprocessing = Literal["inside", "outside"]

_MOST_IMAGES = 2**31 - 1


class ExportedModel(nn.Module):
    """From images to embeddings, as `CheckpointEmbedder.embed` does it, in one forward that can be traced.

    Args:
        embedder: its model is copied, without what only training needs.
        preprocessing: "inside" crops and normalises bytes, "outside" takes cropped, normalised floats.
        layout: of images in memory within the model; None for the model's own.

    Attributes:
        example: images to trace it with.

    Shape:
        images: inside (B, 3, H, W), uint8, RGB, with `card.size` as (H, W); outside float32, with `card.crop` as
            (H, W) if there is one.
        Result: (B, card.dim), float32.
    """

    pixel_mean: Tensor
    pixel_factor: Tensor

    def __init__(
        self,
        embedder: CheckpointEmbedder,
        *,
        preprocessing: Preprocessing = "inside",
        layout: torch.memory_format | None = None,
    ) -> None:
        super().__init__()
        card = embedder.card
        self.model = without_training_only(embedder.model).cpu()
        replace_batch_norms(self.model)
        if layout is not None and isinstance(self.model, ReIDModel):
            self.model.memory_format = layout
        self.inside, self.crop, self.flip = preprocessing == "inside", card.crop, card.flip
        mean, deviation = (torch.tensor(values).view(-1, 1, 1) for values in (card.pixel_mean, card.pixel_std))
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_factor", deviation.reciprocal(), persistent=False)
        size = card.size if self.inside or card.crop is None else card.crop
        self.example = torch.zeros(2, 3, *size, dtype=torch.uint8 if self.inside else torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        if self.inside:
            cropped = images if self.crop is None else center_crop(images, list(self.crop))
            images = (cropped.float() - self.pixel_mean) * self.pixel_factor
        embeddings: Tensor = self.model({"images": images, "normalized": True})
        if self.flip:
            embeddings = (embeddings + self.model({"images": images.flip(-1), "normalized": True})) / 2
        return embeddings.float()


def trace(model: nn.Module, example: Tensor) -> ExportedProgram:
    """The operations of a model, for any number of images.

    Args:
        model: takes images alone.
        example: two images or more; their values do not matter.

    Raises:
        ExportError: what it does depends on the values of the images, or torch.export cannot follow; it names the
            module.
    """
    # Without an end, some operators would fix the number of images not to be the largest integer.
    batch = {0: Dim("batch", max=_MOST_IMAGES)}
    with Calls(model.eval()) as calls, quiet():
        try:
            program = torch.export.export(model, (example,), dynamic_shapes=(batch,), strict=False)
        # What a forward and the tracer raise can be anything.
        except Exception as error:
            raise ExportError(f"torch.export cannot follow the model: {calls.tell(error)}") from error
    for part in program.graph_module.modules():
        if isinstance(part, GraphModule):
            _tidy(part.graph)
    return program


def _tidy(graph: Graph) -> None:
    """Removes paths of this machine's files, and what nothing depends on: torch 2.6 cannot read some of that again."""
    for node in graph.nodes:
        node.meta.pop("stack_trace", None)
    graph.eliminate_dead_code()  # type: ignore[no-untyped-call]  # torch leaves it untyped


def without_training_only(model: nn.Module) -> nn.Module:
    """A copy without the weights that no embedding depends on: those of classifiers."""
    bare = copy.deepcopy(model)
    for name in weights_of_training_only(bare, bare.state_dict()):
        owner, _, own_name = name.rpartition(".")
        setattr(bare.get_submodule(owner), own_name, None)
    return bare


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters print pages of graphs; what goes wrong is an error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        nowhere = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
