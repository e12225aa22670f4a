"""Models of any file: what it is follows from its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.functional.distances import check_metric
from fastreid_ext.inference.card import ModelCard
from fastreid_ext.inference.checkpoint_embedder import CheckpointEmbedder
from fastreid_ext.inference.embedder import Embedder
from fastreid_ext.inference.saved_config import embedding_options, portable_yaml, saved_config
from fastreid_ext.modeling.checkpoint import CheckpointError
from fastreid_ext.modeling.meta_arch import choose_device
from fastreid_ext.utils.download import is_url

__all__ = ["EXPORTED", "model_file", "open_embedder"]

EXPORTED = {
    ".onnx": "fastreid_ext.inference.onnx_embedder.OnnxEmbedder",
    ".pt2": "fastreid_ext.inference.program_embedder.ProgramEmbedder",
    ".safetensors": "fastreid_ext.inference.weights_embedder.WeightsEmbedder",
}
"""What reads exported files, by suffix; imported when it is needed, as their packages are optional."""

_IN_RUNS = ("model_best.pth", "model_final.pth")


def open_embedder(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    options: Sequence[Any] = (),
    config: str | os.PathLike[str] = "",
) -> Embedder:
    """The model of a run, a checkpoint or an exported file.

    Args:
        source: the folder of a run (its model_best.pth, else model_final.pth, else what last_checkpoint names), a
            checkpoint or its URL, or an exported .onnx, .pt2 or .safetensors.
        device: "auto" is the GPU when there is one, else the CPU.
        options: `[KEY, value, KEY, value, ...]`, which win over the config: `["TEST.FLIP.ENABLED", True]`. Of an
            exported file only how embeddings are compared can be changed.
        config: of a checkpoint that has none, such as FastReID's: a file or a short name.

    Raises:
        CheckpointError: there is no model, it cannot be read, or does not fit the config.
        ConfigError: there is no config, it or an option does not fit, or the device is not there.
        CardError: an exported file does not say how its model embeds.
        ImportError: the package that reads such files is not installed.
    """
    # Whoever types KEY VALUE words may be used to this one.
    wanted = dict(zip(options[::2], options[1::2], strict=False)).get("MODEL.DEVICE", "auto")
    device = choose_device(str(wanted if str(device) == "auto" else device))
    path = source if is_url(source) else model_file(source)
    suffix = Path(path).suffix.lower()
    if suffix not in EXPORTED:
        return CheckpointEmbedder.load(path, config=config, device=str(device), options=options)
    if not Path(path).is_file():
        hint = ": fetch it first, only checkpoints are opened at an address" if is_url(source) else ""
        raise CheckpointError(f"no exported model {source if is_url(source) else Path(path).absolute()}{hint}")
    if config:
        raise ConfigError(f"{path} is an exported model, which has its config within: leave config out")
    module, _, name = EXPORTED[suffix].rpartition(".")
    embedder: Embedder = getattr(import_module(module), name)(path, device=device)
    if options:
        embedder.card = _card_with(options, embedder.card, str(path))
    return embedder


def model_file(source: str | os.PathLike[str]) -> Path:
    """The file itself, or the one to take of a run's folder.

    Raises:
        CheckpointError: it is a folder without a model, or seems to be meant as a folder and is not there.
    """
    path = Path(source)
    if not path.suffix and not path.exists():
        raise CheckpointError(f"no folder of a run and no checkpoint {path.absolute()}")
    if not path.is_dir():
        return path
    pointer = path / "last_checkpoint"
    last = [pointer.read_text(encoding="utf-8").strip()] if pointer.is_file() else []
    found = next((path / name for name in (*_IN_RUNS, *last) if (path / name).is_file()), None)
    if found is None:
        others = sorted(file.name for file in path.iterdir() if file.suffix in (".pth", *EXPORTED))
        hint = f"; name one of its files: {', '.join(others)}" if others else ""
        raise CheckpointError(f"{path} is not the folder of a run: it has no {' and no '.join(_IN_RUNS)}{hint}")
    return found


def _card_with(options: Sequence[Any], card: ModelCard, source: str) -> ModelCard:
    """The card where embeddings are compared as the options say.

    Raises:
        ConfigError: an option would change the embeddings, which the file cannot.
        ValueError: the metric is unknown.
    """
    before, after = (_config(card, source, words) for words in ((), options))
    check_metric(after.TEST.METRIC)
    was, asked = embedding_options(before), embedding_options(after)
    if baked := [key for key in sorted(was.keys() | asked.keys()) if was.get(key) != asked.get(key)]:
        raise ConfigError(
            f"{source} is an exported model, into which {', '.join(baked)} went as it was: "
            "export it anew with this option, or use the checkpoint"
        )
    beta = after.TEST.BETA_NORM
    return card.changed(metric=after.TEST.METRIC, beta=beta.BETA if beta.ENABLED else None, config=portable_yaml(after))


def _config(card: ModelCard, source: str, options: Sequence[Any]) -> CfgNode:
    if card.config:
        return saved_config(card.config, source=source, options=options)
    cfg = get_cfg()
    cfg.merge_from_list(options)
    cfg.freeze()
    return cfg
