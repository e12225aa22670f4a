"""What MoReID adds to a training step, and its dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.engine.benchmarks.registry import Options
from fastreid_ext.engine.benchmarks.timing import alternate
from fastreid_ext.functional.keys import Keys
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.layers.dictionary import NegativeDictionary
from fastreid_ext.modeling.meta_arch import ReIDModel
from fastreid_ext.solver import build_optimizer

__all__ = ["BASELINE", "LOSSES", "MOREID", "dictionary_call", "dictionary_figures", "fill", "loss_step", "step_seconds"]

BASELINE, MOREID = "Baseline", "MoReID"
LOSSES = {"TripletLoss": "TripletLoss", "HE": "HardDistanceElasticLoss"}
IMAGES = 16
NUM_CLASSES = 575

Step = Callable[[], object]


def step_seconds(options: Options, keys: int) -> dict[str, dict[str, float]]:
    """Median seconds of training steps with and without MoReID, and of what a step with MoReID has beside the others.

    ResNet-18 with IBN on a CPU, ResNet-50 else, cross entropy on circle softmax, SGD.

    Args:
        options: how to measure.
        keys: images in the dictionary.
    """
    pids = torch.arange(options.batch_size, device=options.device) // IMAGES
    images = torch.randint(0, 256, (len(pids), 3, *options.size), dtype=torch.uint8, device=options.device)
    batch = {"images": images, "targets": pids}
    steps: dict[str, Step] = {}
    for name in (BASELINE, MOREID):
        for loss, full_name in LOSSES.items():
            model, optimizer = _model(_config(name, full_name, options, keys))
            steps[f"{name}, {loss}"] = partial(_step, model, optimizer, batch)
    # The last one is MoReID with the HE loss.
    runs = {"training step": steps, "part of a step": _parts(model, batch)}
    return {what: alternate(of, repeats=options.repeats, device=options.device) for what, of in runs.items()}


def dictionary_call(images: int, size: int, width: int, device: str) -> Step:
    """What takes a batch into a full dictionary, and gives the keys and masks.

    Args:
        images: in the batch.
        size: images in the dictionary.
        width: of their embeddings.
        device: where they are.
    """
    dictionary = NegativeDictionary(size, width).to(device)
    fill(dictionary, images)
    features, pids = torch.randn(images, width, device=device), torch.arange(images, device=device) // IMAGES
    return lambda: dictionary(features, pids)


def dictionary_figures(size: int, width: int) -> dict[str, float]:
    """What a dictionary takes in memory and in a checkpoint, and what it must: float32 numbers, and 64-bit integers.

    Args:
        size: images.
        width: of their embeddings.
    """
    state = NegativeDictionary(size, width).state_dict()
    taken = sum(tensor.untyped_storage().nbytes() for tensor in state.values())
    computed = size * (4 * width + 8 + 8) + 3 * 8
    return {"moreid.dictionary_mb": taken / 1e6, "moreid.dictionary_bytes_over_computed": taken / computed}


def fill(dictionary: NegativeDictionary, images: int) -> None:
    """Takes in batches of so many images until all places are taken: random directions of ever new identities."""
    device = dictionary.features.device
    for start in range(0, dictionary.size, images):
        # The first identities are left to those who come later.
        pids = NUM_CLASSES + torch.arange(start, start + images, device=device) // IMAGES
        dictionary(torch.randn(images, dictionary.dim, device=device), pids)


def loss_step(compare: Callable[[Tensor, Keys], Tensor], queries: Tensor, keys: Keys) -> None:
    """Loss and gradients of the queries.

    Shape:
        queries: (Q, D).
    """
    queries.grad = None
    compare(queries, keys).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _config(name: str, loss: str, options: Options, keys: int) -> CfgNode:
    cfg = get_cfg(["moreid"])
    small = options.device == "cpu"
    cfg.merge_from_mapping(
        {
            "MODEL": {
                "DEVICE": options.device,
                "META_ARCHITECTURE": name,
                "BACKBONE": {
                    "DEPTH": "18x" if small else "50x",
                    "FEAT_DIM": 512 if small else 2048,
                    "WITH_IBN": True,
                },
                "HEADS": {
                    "NUM_CLASSES": NUM_CLASSES,
                    "WITH_BNNECK": True,
                    "NECK_FEAT": "after",
                    "CLS_LAYER": "CircleSoftmax",
                    "SCALE": 64,
                    "MARGIN": 0.35,
                },
                "LOSSES": {"NAME": ("CrossEntropyLoss", loss), "TRI": {"HARD_MINING": True}},
                "MOREID": {"DICTIONARY_SIZE": keys},
            },
            "INPUT": {"SIZE_TRAIN": options.size},
            "DATALOADER": {"SAMPLER_TRAIN": "NaiveIdentitySampler", "NUM_INSTANCE": IMAGES},
            "SOLVER": {"OPT": "SGD", "IMS_PER_BATCH": options.batch_size},
        }
    )
    return cfg


def _model(cfg: CfgNode) -> tuple[ReIDModel, Optimizer]:
    model = build_model(cfg)
    assert isinstance(model, ReIDModel)
    for part in model.modules():
        if isinstance(part, NegativeDictionary):
            fill(part, cfg.SOLVER.IMS_PER_BATCH)
    return model.train(), build_optimizer(cfg, model)


def _step(model: ReIDModel, optimizer: Optimizer, batch: Mapping[str, Any]) -> None:
    optimizer.zero_grad(set_to_none=True)
    losses: dict[str, Tensor] = model(batch)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimizer.step()
    model.after_step(0.5)


def _parts(model: Any, batch: Mapping[str, Tensor]) -> dict[str, Step]:
    pids = batch["targets"]
    images = model.preprocess(batch)
    dictionary, loss = model.dictionary, model.criterion.losses["he"]
    features = torch.randn(len(pids), dictionary.dim, device=pids.device)
    keys, queries = dictionary(features, pids), features.clone().requires_grad_()
    return {
        "momentum encoder, forward": lambda: model.momentum_encoder(images, pids),
        "momentum encoder, after_step": lambda: model.after_step(0.5),
        "dictionary": lambda: dictionary(features, pids),
        "HE": partial(loss_step, loss.compare, queries, keys),
    }
