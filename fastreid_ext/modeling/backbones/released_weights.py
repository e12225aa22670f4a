"""ImageNet weights that are files of a release."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fastreid_ext.modeling.backbones.base import OfficialWeights
from fastreid_ext.modeling.backbones.pretrained import read_weights
from fastreid_ext.utils.download import local_file

__all__ = ["released_weights"]


def released_weights(url: str) -> OfficialWeights:
    """The file at `url`, downloaded once and checked against the checksum in its name."""

    def fetch() -> Mapping[str, Tensor]:
        return read_weights(local_file(url))

    return OfficialWeights(url, fetch)
