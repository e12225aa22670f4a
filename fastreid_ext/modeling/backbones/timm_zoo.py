"""Any model of timm as a backbone."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights, refuse_options
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.registry import RegistryError, close_matches
from fastreid_ext.utils.env import require

__all__ = ["TimmBackbone"]


class TimmBackbone(Backbone):
    """A model of timm without its pooling and classifier; whatever it gives becomes a map.

    Token models lose their class and register tokens and are laid out on their grid, maps with channels last are
    turned, and a model that can only give a vector gives a map of one position.

    From a config, MODEL.BACKBONE.DROP_PATH_RATIO, DROP_RATIO and ATT_DROP_RATE hold for transformers, as in FastReID;
    DEPTH, LAST_STRIDE and NORM are the model's own and not read.

    Args:
        model_name: of timm, such as "resnet50.a1_in1k".
        image_size: height and width, for models that are built for one size; those that can take any size do.
        options: more arguments of `timm.create_model`.

    Shape:
        images: (B, 3, H, W).
        returns: (B, C, h, w); C and the stride are the model's.
    """

    @configurable
    def __init__(
        self, *, model_name: str, image_size: Sequence[int] = (256, 128), options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.model_name = model_name
        self.image_size = tuple(image_size)
        self.options = dict(options or {})
        self.model = self._create(pretrained=False)
        self.feature_dim = int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)

    @classmethod
    def from_config(cls, cfg: CfgNode, model_name: str) -> dict[str, Any]:
        refuse_options(cfg, "timm", ("WITH_IBN", "WITH_AIN", "WITH_SE", "WITH_NL"))
        node = cfg.MODEL.BACKBONE
        rates = {
            "drop_path_rate": node.DROP_PATH_RATIO,
            "proj_drop_rate": node.DROP_RATIO,
            "attn_drop_rate": node.ATT_DROP_RATE,
        }
        options = {name: rate for name, rate in rates.items() if rate} if _has_fixed_size(model_name) else {}
        return {"model_name": model_name, "image_size": cfg.INPUT.SIZE_TRAIN, "options": options}

    def _create(self, pretrained: bool) -> Any:
        timm = _timm(self.model_name)
        create = functools.partial(
            timm.create_model, self.model_name, pretrained=pretrained, num_classes=0, **self.options
        )
        model: Any = _create_sized(create, self.image_size) if _has_fixed_size(self.model_name) else create()
        try:
            model.reset_classifier(0, "")
        except (AssertionError, ValueError):  # a few models cannot do without their pooling
            model.reset_classifier(0)
        return model

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.model(images)
        if out.dim() == 2:
            return out[:, :, None, None]
        if out.dim() == 3:
            return self._to_grid(out, images.shape[2], images.shape[3])
        channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        return out.permute(0, 3, 1, 2) if channels_last else out

    def _to_grid(self, tokens: Tensor, height: int, width: int) -> Tensor:
        tokens = tokens[:, int(getattr(self.model, "num_prefix_tokens", 0)) :].mT
        patches: Any = getattr(self.model, "patch_embed", None)
        rows, columns = patches.dynamic_feat_size((height, width)) if hasattr(patches, "dynamic_feat_size") else (0, 0)
        if rows * columns != tokens.shape[2]:  # models that merge tokens on the way
            rows = round(math.sqrt(tokens.shape[2] * height / width))
            columns = tokens.shape[2] // max(rows, 1)
        if rows * columns != tokens.shape[2]:
            raise ValueError(
                f"timm:{self.model_name} gives {tokens.shape[2]} tokens, which fit no grid "
                f"of an image of {height}x{width}: it cannot be a backbone"
            )
        return tokens.reshape(*tokens.shape[:2], rows, columns)

    def official_weights(self) -> OfficialWeights:
        """timm's own, fitted to the image size by timm."""
        return OfficialWeights(f"{self.model_name} of timm", lambda: self._create(pretrained=True).state_dict())

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """timm's names and position embeddings, as its own loading converts them."""
        if all(key.startswith("model.") for key in state):
            return state
        convert = getattr(inspect.getmodule(type(self.model)), "checkpoint_filter_fn", None)
        converted: dict[str, Tensor] = convert(state, self.model) if convert else state
        return {f"model.{key}": value for key, value in converted.items()}


def _timm(model_name: str) -> Any:
    return require("timm", "zoo", f"the backbone timm:{model_name}")


def _has_fixed_size(model_name: str) -> bool:
    """Whether it is built for one image size, as transformers are."""
    published = _timm(model_name).get_pretrained_cfg(model_name)
    return bool(published and published.fixed_input_size)


def _create_sized(create: Callable[..., Any], image_size: tuple[int, ...]) -> Any:
    """The model for this image size, and for all others if it knows how."""
    try:
        return create(img_size=image_size, dynamic_img_size=True)
    except TypeError:  # no such argument
        return create(img_size=image_size)


def resolve(model_name: str) -> Callable[..., TimmBackbone]:
    """Any model of timm by its name there."""
    timm = _timm(model_name)
    if ":" not in model_name and not timm.is_model(model_name):
        matches = close_matches(model_name, timm.list_models())
        hint = f" Did you mean {' or '.join(f'timm:{match}' for match in matches)}?" if matches else ""
        raise RegistryError(f"timm has no model '{model_name}'.{hint} timm.list_models() lists all")
    return functools.partial(TimmBackbone, model_name=model_name)


BACKBONES.register_prefix("timm", resolve)
