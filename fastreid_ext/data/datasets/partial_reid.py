"""Sets to test on, whose queries show people in part and whose gallery shows them whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.base import ReIDDataset
from fastreid_ext.data.datasets.files import image_paths
from fastreid_ext.data.datasets.path_rule import PathRule
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.protocol import Protocol

__all__ = ["OccludedREID", "PartialREID", "PartialiLIDS"]

_RULE = PathRule(r"(\d+)_[^/]*")


class PartAndWhole(ReIDDataset):
    """Queries in one folder, gallery in another; nothing to train on.

    Names such as `001_003.jpg` are of an identity and of an image of it. FastReID takes the image's number for a
    camera, so that the gallery image of a query's own number does not count; there are no cameras, and here all count.

    Reference: of the subclass.
    Counts: checked where a subclass has `statistics`.
    Layout: see `layout`.

    Args:
        root: folder of the data sets.
        strict: whether names that cannot be read, or other counts than the published ones, are an error.

    Attributes:
        folders: of queries and gallery, below the root.
        statistics: published counts, as in `counts`.
    """

    folders: ClassVar[tuple[str, str]]
    statistics: ClassVar[Mapping[str, int]] = {}
    protocol = Protocol(camera_rule=False)

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        super().__init__()
        places = [Path(root) / folder for folder in self.folders]
        self.require(*places)
        self.query, self.gallery = (_RULE.read(self, place, image_paths(place), strict=strict) for place in places)
        self.require_samples(query=self.query, gallery=self.gallery)
        self.check(strict=strict)

    def published(self) -> Mapping[str, int]:
        return self.statistics


@DATASETS.register(source="Zheng et al., ICCV 2015")
class PartialREID(PartAndWhole):
    """Partial-REID: people on a campus, of whom queries show a part; for testing only.

    Reference: Zheng et al., "Partial Person Re-identification", ICCV 2015.
    Counts: 300 queries and 300 gallery images of 60 people.
    """

    layout: ClassVar[str] = (
        "<root>/Partial_REID/\n"
        "  partial_body_images/  001_001.jpg ...   <identity>_<anything>; the queries\n"
        "  whole_body_images/    the gallery"
    )
    folders = ("Partial_REID/partial_body_images", "Partial_REID/whole_body_images")
    statistics: ClassVar = {"query_images": 300, "query_ids": 60, "gallery_images": 300, "gallery_ids": 60}


@DATASETS.register(source="Zheng et al., ICCV 2015")
class PartialiLIDS(PartAndWhole):
    """Partial-iLIDS: people in an airport, of whom queries show a part; for testing only.

    Reference: Zheng et al., "Partial Person Re-identification", ICCV 2015.
    Counts: 119 people. Images are not checked: sources give 119 queries or 238.
    """

    layout: ClassVar[str] = "<root>/PartialiLIDS/\n  query/    001_001.jpg ...   <identity>_<anything>\n  gallery/"
    folders = ("PartialiLIDS/query", "PartialiLIDS/gallery")
    statistics: ClassVar = {"query_ids": 119, "gallery_ids": 119}


@DATASETS.register(source="Zhuo et al., ICME 2018")
class OccludedREID(PartAndWhole):
    """Occluded-REID: people on a campus, of whom queries are partly hidden; for testing only.

    Reference: Zhuo et al., "Occluded Person Re-identification", ICME 2018.
    Counts: 1,000 queries and 1,000 gallery images of 200 people.
    """

    layout: ClassVar[str] = "<root>/OccludedREID/\n  query/    001_01.jpg ...   <identity>_<anything>\n  gallery/"
    folders = ("OccludedREID/query", "OccludedREID/gallery")
    statistics: ClassVar = {"query_images": 1_000, "query_ids": 200, "gallery_images": 1_000, "gallery_ids": 200}
