"""The rules by which a data set is evaluated."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["JUNK_PID", "Protocol"]

JUNK_PID = -1
"""Identity number of gallery images that never count: neither as a match nor as a mistake."""


@dataclass(frozen=True)
class Protocol:
    """Which gallery images count for a query, and how a test set is split.

    Gallery images with pid -1 (Market-1501's badly detected ones) are junk under every protocol: they are passed over
    in the ranking. Pid 0, which Market-1501 gives to its distractors, is an ordinary identity: images of it are
    mistakes for every query of another identity.

    Attributes:
        camera_rule: gallery images of the query's own identity *and* camera are junk for that query.
        query_is_gallery: query i is gallery image i (CUB200, Cars196, SOP); it is junk for itself.
        single_gallery_shot: how many times one gallery image per identity is drawn, for a CMC averaged over these draws
            (CUHK03's classic protocol); mAP and mINP stay those of the whole gallery. 0: so does the CMC.
        trials: how many times the test images are split at random into one gallery image per identity and the rest as
            queries (VehicleID), all metrics averaged. 1: the split is the data set's own.
        seed: of the draws and splits; trial t uses `seed + t`.

    Raises:
        ValueError: a number is out of range, or two rules contradict each other.
    """

    camera_rule: bool = True
    query_is_gallery: bool = False
    single_gallery_shot: int = 0
    trials: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.single_gallery_shot < 0:
            raise ValueError(f"single_gallery_shot is a number of draws, 0 for none; got {self.single_gallery_shot}.")
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1; got {self.trials}.")
        if self.query_is_gallery and self.trials > 1:
            raise ValueError("query_is_gallery contradicts trials > 1, which split query from gallery: choose one.")

    def describe(self) -> dict[str, bool | int]:
        """The rules by name, for results.json."""
        return asdict(self)
