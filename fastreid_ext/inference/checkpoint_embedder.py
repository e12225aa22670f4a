"""Models of checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.config.checks import check
from fastreid_ext.data.transforms import build_test_pipeline
from fastreid_ext.engine.trained_model import trained_model
from fastreid_ext.evaluation.strategies import InferenceStrategies
from fastreid_ext.inference.card import ModelCard
from fastreid_ext.inference.embedder import Embedder
from fastreid_ext.inference.fingerprint import fingerprint
from fastreid_ext.inference.saved_config import embedding_options, portable_yaml, saved_config
from fastreid_ext.modeling.checkpoint import read_checkpoint
from fastreid_ext.modeling.inference import prepare_for_inference
from fastreid_ext.utils.download import is_url

__all__ = ["CheckpointEmbedder", "card_of", "checkpoint_config"]


class CheckpointEmbedder(Embedder):
    """A PyTorch model, by the evaluator's own steps: its pipeline, mirror images, `TEST.MIXED_POOL` and `LEAKY_RELU`.

    Attributes:
        cfg: of the model.
        model: prepared for inference (`prepare_for_inference`): it takes a batch dict and cannot be trained.

    Args:
        cfg: of the model.
        model: as it was trained; left as it is.
        source: where it comes from, for messages.

    Raises:
        ConfigError: `TEST` asks for what this model cannot do.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, *, source: str = "the model") -> None:
        with InferenceStrategies.from_config(cfg).applied(model):
            self.model = prepare_for_inference(model)
        self.cfg = cfg
        self._pipeline = build_test_pipeline(cfg)
        device = next(model.parameters()).device
        size = tuple(cfg.INPUT.SIZE_TEST)
        dim = self._embed(torch.zeros(1, 3, *size, dtype=torch.uint8, device=device)).shape[1]
        super().__init__(card_of(cfg, model, dim=dim), source=source, device=device)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        config: str | os.PathLike[str] = "",
        device: str = "auto",
        options: Sequence[Any] = (),
    ) -> CheckpointEmbedder:
        """The model of a checkpoint.

        Args:
            path: of the file, or its URL.
            config: a file or a short name such as "msinet/msmt"; without, the config in the checkpoint, else the
                config.yaml beside it.
            device: "auto" is the GPU when there is one, else the CPU.
            options: `[KEY, value, KEY, value, ...]`, which win over the config.

        Raises:
            CheckpointError: the file is missing, cannot be read or does not fit the config.
            ConfigError: there is no config, or it cannot be read, or names a device that is not there.
        """
        state = read_checkpoint(path)
        cfg = checkpoint_config(state, path, config=config, options=options).clone()
        if cfg.TEST.ENSEMBLE:
            raise ConfigError("TEST.ENSEMBLE names more checkpoints, but this is for one model: empty it")
        cfg.defrost()
        cfg.MODEL.DEVICE = device
        cfg.freeze()
        return cls(cfg, trained_model(cfg, state, source=str(path)), source=str(path))

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        if not len(images):
            return torch.empty(0, self.card.dim)
        # The pipeline works on a GPU or in host memory.
        return self._embed(images.to(self.device if self.device.type == "cuda" else "cpu", non_blocking=True))

    @torch.inference_mode()
    def _embed(self, images: Tensor) -> Tensor:
        normalized = self._pipeline(images)
        embeddings: Tensor = self.model({"images": normalized, "normalized": True})
        if self.cfg.TEST.FLIP.ENABLED:
            mirrored: Tensor = self.model({"images": normalized.flip(-1), "normalized": True})
            embeddings = (embeddings + mirrored) / 2
        return embeddings.float().cpu()


def card_of(cfg: CfgNode, model: nn.Module, *, dim: int) -> ModelCard:
    """What is to be said of a model.

    Args:
        cfg: of the model.
        model: as it was trained: batch norms not folded.
        dim: of its embeddings.
    """
    height, width = cfg.INPUT.SIZE_TEST
    crop = cfg.INPUT.CROP
    return ModelCard(
        fingerprint=fingerprint(model, embedding_options(cfg)),
        size=(height, width),
        dim=dim,
        crop=(crop.SIZE[0], crop.SIZE[1]) if crop.ENABLED else None,
        pixel_mean=tuple(cfg.MODEL.PIXEL_MEAN),
        pixel_std=tuple(cfg.MODEL.PIXEL_STD),
        flip=cfg.TEST.FLIP.ENABLED,
        metric=cfg.TEST.METRIC,
        beta=cfg.TEST.BETA_NORM.BETA if cfg.TEST.BETA_NORM.ENABLED else None,
        name=f"{cfg.MODEL.META_ARCHITECTURE} {cfg.MODEL.BACKBONE.NAME}",
        config=portable_yaml(cfg),
    )


def checkpoint_config(
    state: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] = "",
    options: Sequence[Any] = (),
) -> CfgNode:
    """The config of a checkpoint: the given one, else that within, else the config.yaml beside it.

    Args:
        state: the checkpoint.
        path: of its file, or its URL.
        config: a file or a short name.
        options: `[KEY, value, KEY, value, ...]`, which win.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    if config:
        return load_config(config, options)
    if isinstance(text := state.get("config"), str):
        cfg = saved_config(text, source=str(path), options=options)
        check(cfg)
        return cfg
    beside = Path(path).with_name("config.yaml")
    if not is_url(path) and beside.is_file():
        return load_config(beside, options)
    raise ConfigError(
        f"{path} has no config, as checkpoints of other programs: say which it was trained with, "
        'config="Market1501/bagtricks_R50" or the path of a YAML file'
    )
