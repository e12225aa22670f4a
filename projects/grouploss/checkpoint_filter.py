"""The authors' weights, for models that take RGB images."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fastreid_ext.modeling.checkpoint_filters import CHECKPOINT_FILTERS
from fastreid_ext.modeling.meta_arch import ReIDModel
from fastreid_ext.utils.logger import get_logger

__all__ = ["checkpoint_filter"]

logger = get_logger(__name__)

# First convolution, whose input is BGR, and classifier.
_NETWORKS = (
    ("conv1_7x7_s2.weight", "last_linear"),
    ("features.conv0.weight", "classifier"),
)
_IMAGENET_CLASSES = 1000
_PIXEL_MEAN, _PIXEL_STD = [128.0, 117.0, 104.0], [1.0, 1.0, 1.0]


@CHECKPOINT_FILTERS.register("grouploss", source="https://github.com/dvl-tum/group_loss")
def checkpoint_filter(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor] | None:
    """Weights of the Group Loss authors' code, of either paper: BN-Inception and DenseNets.

    All their networks take BGR images, less a mean and not divided; the first convolution is turned to RGB, and a model
    with other MODEL.PIXEL_MEAN and PIXEL_STD is warned of. The classifier's weight is taken over where the model has
    as many classes, its bias never: there is none here. The embedding layer of their `Inception_embed` has a bias as
    well, which changes its features: `embed` keeps its name, as does all that the model has no place for.

    Left alone are DenseNets with 1000 classes, which are torchvision's and take RGB; and ResNets, whose names are
    torchvision's, too, but which the authors' code pools to a single position right behind the stem.

    Args:
        weights: by the authors' names.
        model: that they are for.

    Returns:
        None where the names are of other code.
    """
    prefix = "inception." if "embed.weight" in weights else ""
    networks = (tuple(prefix + part for part in parts) for parts in _NETWORKS)
    found = next(((first, last) for first, last in networks if {first, f"{last}.weight"} <= weights.keys()), None)
    if found is None:
        return None
    first, classifier = found
    if classifier == "classifier" and len(weights["classifier.weight"]) == _IMAGENET_CLASSES:
        return None
    _check_pixels(model)
    turned = {name: value.flip(1) if name == first else value for name, value in weights.items()}
    return _placed(turned, model.state_dict(), prefix, classifiers=("fc", classifier) if prefix else (classifier,))


def _placed(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], prefix: str, *, classifiers: tuple[str, ...]
) -> dict[str, Tensor]:
    """Weights by the names of the model's layers; of the classifiers the first is the one that was trained."""
    classes = own.get("heads.weight")
    placed = {}
    for name, value in weights.items():
        place = f"backbone.{name.removeprefix(prefix)}"
        if place in own:
            placed[place] = value
        elif name == f"{classifiers[0]}.weight" and classes is not None and classes.shape == value.shape:
            placed["heads.weight"] = value
        elif not name.startswith(tuple(f"{classifier}." for classifier in classifiers)):
            placed[name] = value
    return placed


def _check_pixels(model: nn.Module) -> None:
    if not isinstance(model, ReIDModel):
        return
    if (model.pixel_mean.flatten().tolist(), model.pixel_std.flatten().tolist()) != (_PIXEL_MEAN, _PIXEL_STD):
        logger.warning(
            "the Group Loss authors' networks want pixels as they trained with them: "
            'set MODEL.PIXEL_MEAN "[128, 117, 104]" MODEL.PIXEL_STD "[1, 1, 1]"'
        )
