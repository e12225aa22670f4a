"""Pictures of where in an image a model looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import center_crop

from fastreid_ext.config import CfgNode
from fastreid_ext.data.decode import decode
from fastreid_ext.data.image import UnreadableImage, read_image
from fastreid_ext.data.transforms import build_test_pipeline
from fastreid_ext.evaluation.activation_maps import NoMapError, activation_maps
from fastreid_ext.evaluation.strategies import InferenceStrategies
from fastreid_ext.report.thumbnails import as_jpeg, fitted

__all__ = ["Attention"]

_BATCH = 16
_SIDE = 256
_QUALITY = 85
_STRENGTH = 0.5
# From cold to hot, evenly spaced: near those of "jet", which papers use, but even in brightness.
_COLOURS = np.array(
    [(38, 58, 160), (44, 140, 230), (38, 200, 170), (150, 225, 70), (250, 200, 40), (245, 110, 25), (215, 25, 15)]
)


class Attention:
    """Draws activation maps over images, as MSINet's Figs. 1 and 8 (Gu et al., CVPR 2023) show them.

    Attributes:
        positions: height and width of the last maps, before they are enlarged; known once one was made.

    Args:
        cfg: of the model.
        model: takes a batch dict.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        self._cfg, self._model = cfg, model
        self._pipeline = build_test_pipeline(cfg)
        self._size: tuple[int, int] = tuple(cfg.INPUT.SIZE_TEST)
        self._device = next(model.parameters()).device
        self.positions = (0, 0)

    @classmethod
    def of(cls, cfg: CfgNode, model: nn.Module) -> Attention | str:
        """What draws, or a sentence for people where the model makes no map."""
        attention = cls(cfg, model)
        try:
            attention._maps(torch.zeros(1, 3, *attention._size, dtype=torch.uint8))
        except NoMapError as error:
            return str(error)
        return attention

    def pictures(self, paths: Sequence[str]) -> Iterator[bytes]:
        """A JPEG an image, in order; empty where it cannot be read."""
        for start in range(0, len(paths), _BATCH):
            images = [_read(path, self._size) for path in paths[start : start + _BATCH]]
            readable = [pixels for pixels, _ in images if pixels is not None]
            maps: Iterator[Tensor] = iter(self._maps(torch.stack(readable)) if readable else [])
            yield from (
                b"" if picture is None else as_jpeg(_painted(picture, next(maps)), _QUALITY) for _, picture in images
            )

    def _maps(self, images: Tensor) -> Tensor:
        """Shape:
        images: (B, 3, H, W), uint8, resized.
        Result: (B, H, W), of the same places.
        """
        normalized = self._pipeline(images.to(self._device))
        with InferenceStrategies.from_config(self._cfg).applied(self._model):
            maps = activation_maps(self._model, {"images": normalized, "normalized": True})
        self.positions = (maps.shape[1], maps.shape[2])
        smooth = F.interpolate(maps[:, None], normalized.shape[2:], mode="bicubic", align_corners=False)
        # Where the model has seen the middle only, the map ends with it.
        in_place: Tensor = center_crop(smooth.clamp_(0, 1), list(self._size))
        return in_place[:, 0]


def _read(path: str, size: tuple[int, int]) -> tuple[Tensor | None, Image.Image | None]:
    try:
        return decode(path, size), fitted(read_image(path), _SIDE, enlarge=True)
    except UnreadableImage:
        return None, None


def _painted(image: Image.Image, heat: Tensor) -> Image.Image:
    """The image under the map in colours from cold to hot."""
    values = Image.fromarray((heat.numpy() * 255).round().astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)
    places = np.asarray(values) / 255 * (len(_COLOURS) - 1)
    colours = [np.interp(places, range(len(_COLOURS)), channel) for channel in _COLOURS.T]
    layer = Image.fromarray(np.stack(colours, -1).astype(np.uint8))
    return Image.blend(image, layer, _STRENGTH)
