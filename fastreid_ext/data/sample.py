"""One image of a data set."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Sample"]


class Sample(NamedTuple):
    """Where an image is, whom it shows, and which camera took it.

    `pid` is the identity as the data set numbers it: -1 for junk, 0 for Market-1501's distractors. `camid` counts
    from 0; data sets without cameras give every image camera 0 and a protocol without camera rule.
    """

    path: str
    pid: int
    camid: int
