"""Training identities held out to choose settings by, so that no test image has to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.registry import DATASETS, build_dataset
from fastreid_ext.data.protocol import JUNK_PID, Protocol
from fastreid_ext.data.sample import Sample
from fastreid_ext.utils.logger import get_logger

__all__ = ["HeldOut", "hold_out"]

_FEWEST = 2
_INNER_OPTION = re.compile(r";\s*(?=[A-Za-z_]\w*=)")
_OUTER_OPTION = re.compile(r",\s*(?=[A-Za-z_]\w*=)")


@DATASETS.register(source="this toolbox")
class HeldOut(ReIDDataset):
    """Another data set's training images: of some identities to evaluate on, of the others to train on.

    `HeldOut:CUB200,share=0.2` trains on 80 of the 100 training species and evaluates on the other 20; the test images
    of CUB200 are in none of its lists. Options of the other set stand behind semicolons:
    `HeldOut:MarketLayout:/data/mine;camera_rule=False,share=0.3`, `HeldOut:SynthReID:kind=vehicle;seed=3,share=0.3`.

    What is query and what gallery, and by which rules they are ranked: see `hold_out`.

    Args:
        root: folder of the data sets.
        dataset: the other set, as a config names it.
        share: of its training identities, to hold out; between 0 and 1.
        seed: of the draw.
        strict: whether a set that is not complete is an error.
    """

    def __init__(self, root: Path, dataset: str, *, share: float = 0.2, seed: int = 0, strict: bool = True) -> None:
        super().__init__()
        inner = build_dataset(_INNER_OPTION.sub(",", str(dataset)), str(root), strict=strict)
        held = hold_out(inner, share=share, seed=seed)
        self.protocol, self.train, self.query, self.gallery = held.protocol, held.train, held.query, held.gallery


def hold_out(dataset: ReIDDataset, *, share: float = 0.2, seed: int = 0) -> ReIDDataset:
    """A share of a data set's training identities to evaluate on, the others to train on; test images are left out.

    Where the set's queries are its gallery, all images held out are both. Else the first image of an identity by a
    camera is a query if that camera has more of it, and the rest is gallery; an identity without such a camera gives
    its first image, and one with a single image no query. The set's camera rule holds, unless no query would have a
    match under it. Junk and distractors are no identities and stay where they are.

    Args:
        dataset: with training images.
        share: of the identities, to hold out; at least two are, and two are left.
        seed: of the draw.

    Raises:
        DatasetError: the share is not between 0 and 1, there are fewer than four identities, or no image held out has
            a match.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise DatasetError(
            f"{dataset.spec}: the share of identities to hold out is {share!r}; it must be between 0 and 1."
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise DatasetError(
            f"{dataset.spec}: the seed of the identities to hold out is {seed!r}; it must be an integer."
        )
    chosen = _draw(dataset, share, seed)
    held = ReIDDataset()
    held.spec = f"HeldOut:{_OUTER_OPTION.sub(';', dataset.spec)},share={share},seed={seed}"
    held.train = [sample for sample in dataset.train if sample.pid not in chosen]
    images = [sample for sample in dataset.train if sample.pid in chosen]
    held.query, held.gallery = (images, list(images)) if dataset.protocol.query_is_gallery else _split(images)
    held.protocol = _protocol(dataset.protocol, held)
    return held


def _draw(dataset: ReIDDataset, share: float, seed: int) -> set[int]:
    pids = sorted({sample.pid for sample in dataset.train} - {JUNK_PID} - dataset.distractor_pids)
    if len(pids) < 2 * _FEWEST:
        raise DatasetError(
            f"{dataset.spec} has {len(pids)} training identities: too few to hold some out, which takes {2 * _FEWEST}."
        )
    count = min(max(round(share * len(pids)), _FEWEST), len(pids) - _FEWEST)
    order = torch.randperm(len(pids), generator=torch.Generator().manual_seed(seed))
    return {pids[index] for index in order[:count].tolist()}


def _split(images: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Queries and gallery, which have no image in common."""
    by_pid: dict[int, list[Sample]] = {}
    by_camera: dict[tuple[int, int], list[Sample]] = {}
    for sample in images:
        by_pid.setdefault(sample.pid, []).append(sample)
        by_camera.setdefault((sample.pid, sample.camid), []).append(sample)
    several = [group[0] for group in by_camera.values() if len(group) > 1]
    queried = {sample.pid for sample in several}
    single = [group[0] for pid, group in by_pid.items() if pid not in queried and len(group) > 1]
    queries = {*several, *single}
    return [s for s in images if s in queries], [s for s in images if s not in queries]


def _protocol(protocol: Protocol, held: ReIDDataset) -> Protocol:
    """The rules of the whole set as far as they suit one fixed split."""
    same = protocol.query_is_gallery
    if protocol.camera_rule and not _has_match(held, same, across_cameras=True):
        get_logger(__name__).info(f"{held.spec}: no identity was seen by two cameras, thus no camera rule")
        protocol = Protocol(camera_rule=False, query_is_gallery=same)
    if not protocol.camera_rule and not _has_match(held, same, across_cameras=False):
        raise DatasetError(
            f"{held.spec}: none of the identities held out has two images: nothing to evaluate. "
            f"Hold out a larger share."
        )
    return Protocol(camera_rule=protocol.camera_rule, query_is_gallery=same)


def _has_match(held: ReIDDataset, same: bool, *, across_cameras: bool) -> bool:
    cameras: dict[int, list[int]] = {}
    for sample in held.gallery:
        cameras.setdefault(sample.pid, []).append(sample.camid)
    for query in held.query:
        others = cameras.get(query.pid, [])
        if across_cameras and any(camera != query.camid for camera in others):
            return True
        if not across_cameras and len(others) > int(same):
            return True
    return False
