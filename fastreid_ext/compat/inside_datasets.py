"""Our data sets as FastReID's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.importing import LOGGER
from fastreid_ext.data.datasets import build_dataset
from fastreid_ext.data.protocol import JUNK_PID
from fastreid_ext.data.sample import Sample

__all__ = ["our_dataset"]

Item = tuple[str, Any, Any]


class _OurDataset(ImageDataset):  # type: ignore[misc]  # FastReID has no types
    """Lists of (path, identity, camera) as FastReID's loaders take them.

    In training, identities and cameras have the data set's name, so that those of several sets differ. Junk is left out
    of the gallery. FastReID passes over the gallery images of a query's own identity and camera; of a data set without
    this rule every image is therefore of a camera of its own, which only takes a query out of its own ranking.

    Args:
        root: folder of the data sets.
        options: of FastReID's `ImageDataset`, such as `combineall`.
    """

    spec: ClassVar[str]

    def __init__(self, root: str = "datasets", **options: Any) -> None:
        found = build_dataset(self.spec, str(root))
        queried = {sample.pid for sample in found.query}
        self._left_out = {JUNK_PID, *(found.distractor_pids - queried)}
        gallery = [sample for sample in found.gallery if sample.pid != JUNK_PID]
        cameras: dict[str, int] = {}
        if not found.protocol.camera_rule:
            cameras = {
                path: index for index, path in enumerate({sample.path: None for sample in [*found.query, *gallery]})
            }
        if found.protocol.trials > 1 or found.protocol.single_gallery_shot:
            LOGGER.warning(
                f"{self.spec}: FastReID evaluates one split, where the protocol has several draws: figures differ"
            )
        super().__init__(
            self._for_training(found.train),
            [(path, pid, cameras.get(path, camid)) for path, pid, camid in found.query],
            [(path, pid, cameras.get(path, camid)) for path, pid, camid in gallery],
            **options,
        )

    def combine_all(self) -> None:
        """Adds the test images of known people to those of the training."""
        tested = [Sample(*item) for item in dict.fromkeys([*self.query, *self.gallery])]
        known = (sample for sample in tested if sample.pid not in self._left_out)
        self._train = [*self.train, *self._for_training(known)]

    def _for_training(self, samples: Iterable[Sample]) -> list[Item]:
        return [(path, f"{self.spec}_{pid}", f"{self.spec}_{camid}") for path, pid, camid in samples]


def our_dataset(name: str, spec: str) -> type[Any]:
    """A class `name` for FastReID's registry of the data set that `spec` names in our configs."""
    return type(name, (_OurDataset,), {"spec": spec, "__module__": __name__})
