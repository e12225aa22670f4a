"""Features of many images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.loader import TestLoader
from fastreid_ext.utils.dist import all_gather_objects, gather_rows, get_rank, get_world_size, is_main_process
from fastreid_ext.utils.modes import eval_mode

__all__ = ["Features", "eval_mode", "extract_features"]


@dataclass(frozen=True)
class Features:
    """Embeddings of a list of samples.

    Attributes:
        values: one row a readable sample, in order.
        indices: positions of the rows' samples in the list.
        unreadable: errors of the others.

    Shape:
        values: (N, D), float32, on the CPU.
        indices: (N,).
    """

    values: Tensor
    indices: Tensor
    unreadable: list[UnreadableImage]


@torch.inference_mode()
def extract_features(model: nn.Module, loader: TestLoader, *, flip: bool = False) -> Features:
    """Embeddings of all samples of all ranks, in the order of the samples.

    Args:
        model: takes a batch dict and returns embeddings in evaluation mode.
        loader: this rank's contiguous share of the samples.
        flip: average the embeddings of each image and of its mirror image.
    """
    values, indices, unreadable = [], [], []
    with eval_mode(model):
        for batch in tqdm(
            loader, desc="features", unit="batch", leave=False, disable=None if is_main_process() else True
        ):
            unreadable += batch["unreadable"]
            if len(batch["images"]) == 0:
                continue
            embeddings = model(batch)
            if flip:
                embeddings = (embeddings + model({**batch, "images": batch["images"].flip(-1)})) / 2
            values.append(embeddings.float().cpu())
            indices.append(batch["indices"].cpu())
    own = torch.cat(values) if values else torch.empty(0, 0), torch.cat(indices) if indices else torch.empty(0).long()
    return _gather_ranks(Features(*own, unreadable), len(loader.samples))


def _gather_ranks(own: Features, share: int) -> Features:
    """Concatenates what the ranks have; features travel as tensors."""
    if get_world_size() == 1:
        return own
    shares, errors = zip(*all_gather_objects((share, own.unreadable)), strict=True)
    indices = own.indices + sum(shares[: get_rank()])
    return Features(gather_rows(own.values), gather_rows(indices), [error for part in errors for error in part])
