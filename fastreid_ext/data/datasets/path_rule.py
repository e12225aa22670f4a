"""Data sets whose images say by their paths whom they show and which camera took them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.files import image_paths
from fastreid_ext.data.datasets.numbering import numbered
from fastreid_ext.data.protocol import JUNK_PID
from fastreid_ext.data.sample import Sample
from fastreid_ext.utils.logger import get_logger

__all__ = ["PathRule", "TrainingFolder"]

_NAMED = 5


@dataclass(frozen=True)
class PathRule:
    r"""How a path tells identity and camera.

    Identities and cameras that are whole numbers keep them; others are numbered in sorted order.

    Attributes:
        pattern: what a whole path looks like, relative to the folder of the images, with "/" between its parts.
        pid: the identity, made of the pattern's groups: `\1`, or `\1-\2` where the one counts anew within the other.
        camera: the camera, in the same way; "0" where paths say none.
        first_pid: the lowest number of an identity; images of lower ones show people whom nobody told apart.
    """

    pattern: str
    pid: str = r"\1"
    camera: str = "0"
    first_pid: int = JUNK_PID

    def read(self, dataset: ReIDDataset, folder: Path, paths: Sequence[str], *, strict: bool = True) -> list[Sample]:
        """The images at these paths below a folder, in their order, without those of nobody in particular.

        Args:
            dataset: whose images they are; errors name it and show its layout, and its `unread` gets what is left out.
            folder: where the paths begin.
            paths: of the images.
            strict: whether paths that cannot be read are an error; else a warning counts them.

        Raises:
            DatasetError: says how many paths cannot be read, and names the first of them.
        """
        matches = {path: re.fullmatch(self.pattern, path) for path in paths}
        self._leave_out(dataset, folder, [path for path, match in matches.items() if match is None], strict=strict)
        found = [(path, match.expand(self.pid), match.expand(self.camera)) for path, match in matches.items() if match]
        pids = numbered([pid for _, pid, _ in found], lowest=JUNK_PID)
        camids = numbered([camera for _, _, camera in found], lowest=0)
        lowest = max(self.first_pid, JUNK_PID + 1)
        return [
            Sample(str(folder / path), pid, camid)
            for (path, _, _), pid, camid in zip(found, pids, camids, strict=True)
            if pid >= lowest
        ]

    @staticmethod
    def _leave_out(dataset: ReIDDataset, folder: Path, unread: Sequence[str], *, strict: bool) -> None:
        if not unread:
            return
        name = type(dataset).__name__
        shown = ", ".join(unread[:_NAMED]) + (", ..." if len(unread) > _NAMED else "")
        fault = f"{name}: {len(unread)} images in {folder.absolute()} do not say by path whom they show: {shown}"
        if strict:
            raise DatasetError(
                f"{fault}. Move or rename them, or add strict=False ({name}:strict=False) to leave them out. "
                f"Expected layout:\n{dataset.layout}"
            )
        get_logger(__name__).warning(f"{fault}; they are left out")
        dataset.unread += [str(folder / path) for path in unread]


class TrainingFolder(ReIDDataset):
    """A folder of images to train on; there are none to test on.

    A subclass says where the images are (`folder`, `parts`), how their paths are read (`rule`), and what its authors
    count where copies of it do not differ (`statistics`).

    Reference: of the subclass.
    Counts: checked where a subclass has `statistics`; the copies of many sets were cropped or thinned out by others.
    Layout: see `layout`. All images in the folder, or in those of its `parts`, must have paths that the rule can read.

    Args:
        root: folder of the data sets.
        strict: whether paths that cannot be read, or other counts than the published ones, are an error.

    Attributes:
        folder: of the images, below the root.
        parts: folders in it to look into; what lies beside them belongs to other tasks.
        rule: how a path tells identity and camera.
        statistics: published counts, as in `counts`.
    """

    folder: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ("",)
    rule: ClassVar[PathRule]
    statistics: ClassVar[Mapping[str, int]] = {}

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__()
        folder = Path(root) / self.folder
        self.train = self.rule.read(self, folder, self.listed(folder), strict=strict)
        self.require_samples(train=self.train)
        self.check(strict=strict)

    def listed(self, folder: Path) -> list[str]:
        """Paths of the images relative to the folder, with "/" between their parts.

        Raises:
            DatasetError: folders are missing.
        """
        self.require(*(folder / part for part in self.parts))
        return [f"{part}/{path}" if part else path for part in self.parts for path in image_paths(folder / part)]

    def published(self) -> Mapping[str, int]:
        return self.statistics
