"""A few files of each data set whose paths say identity and camera, in its layout."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LAYOUTS", "Layout"]


class Layout(NamedTuple):
    """Files of a data set below the folder of data sets.

    Attributes:
        read: for each image in sorted order, what becomes its pid and camid.
        beside: what else may lie there and is no part of the set.
        unread: an image that breaks the rule of the set.
        unnamed: images of nobody in particular.
    """

    read: dict[str, tuple[int, int]]
    beside: tuple[str, ...]
    unread: str
    unnamed: tuple[str, ...] = ()


def _layout(
    folder: str,
    read: dict[str, tuple[int, int]],
    unread: str,
    *,
    beside: tuple[str, ...] = (),
    unnamed: tuple[str, ...] = (),
) -> Layout:
    inside = [*read, unread, *unnamed]
    hidden = f"{inside[0].rpartition('/')[0]}/._hidden.jpg".lstrip("/")
    return Layout(
        {f"{folder}/{name}": ids for name, ids in read.items()},
        (f"{folder}/Thumbs.db", f"{folder}/{hidden}", *beside),
        f"{folder}/{unread}",
        tuple(f"{folder}/{name}" for name in unnamed),
    )


LAYOUTS: dict[str, Layout] = {
    "AirportALERT": _layout(
        "AirportALERT",
        {"cam1/11001/a.jpg": (11001, 0), "cam1/11002/a.jpg": (11002, 0), "cam3/11001/b.jpg": (11001, 1)},
        "cam1/nobody/a.jpg",
        beside=("AirportALERT/cam1/11001/not_listed.jpg",),
        unnamed=("cam1/00007/a.jpg", "cam1/11000/a.jpg"),
    ),
    "CAVIARa": _layout(
        "CAVIARa", {"0001001.jpg": (1, 0), "0001002.jpg": (1, 0), "0072010.jpg": (72, 0)}, "collage.jpg"
    ),
    "GRID": _layout(
        "underground_reid/images",
        {"0001_1_25004_107_32.jpeg": (1, 1), "0001_2_25023_116_134.jpeg": (1, 2), "0250_6_1_2_3.jpeg": (250, 6)},
        "0001.jpeg",
        beside=("underground_reid/features.mat", "underground_reid/other/collage.jpeg"),
        unnamed=("0000_1_25004_107_32.jpeg", "0000_5_25004_107_32.jpeg"),
    ),
    "LPW": _layout(
        "pep_256x128/data_slim",
        {
            "scen1/view1/1/a.jpg": (0, 0),
            "scen1/view2/1/b.jpg": (0, 1),
            "scen2/view1/1/a.jpg": (1, 2),
            "scen2/view1/7/a.jpg": (2, 2),
            "scen3/view1/1/a.jpg": (3, 3),
        },
        "scen1/view1/a.jpg",
        beside=("pep_256x128/data_slim/scen4/view1/1/a.jpg",),
    ),
    "OccludedREID": _layout(
        "OccludedREID/query",
        {"001_01.jpg": (1, 0), "001_02.jpg": (1, 0), "200_01.jpg": (200, 0)},
        "whole.jpg",
    ),
    "PKU": _layout(
        "PKUv1a_128x48", {"001_1_1.png": (1, 1), "001_2_8.png": (1, 2), "114_1_1.png": (114, 1)}, "collage.png"
    ),
    "PRAI": _layout(
        "PRAI-1581/images",
        {"00000000_0000_00000001.jpg": (0, 0), "00000000_0001_00000001.jpg": (0, 1), "00001580_0001_1.jpg": (1580, 1)},
        "collage.jpg",
        beside=("PRAI-1581/collage.jpg",),
    ),
    "PRID": _layout(
        "prid_2011/slim_train",
        {"cams/person_0001/b_1.png": (1, 1), "person_0001/a_1.png": (1, 0), "person_0200/a_1.png": (200, 0)},
        "person_0001/0001.png",
        beside=("prid_2011/multi_shot/person_0001/0001.png",),
    ),
    "PartialREID": _layout(
        "Partial_REID/partial_body_images",
        {"001_001.jpg": (1, 0), "001_005.jpg": (1, 0), "060_001.jpg": (60, 0)},
        "body.jpg",
        beside=("Partial_REID/occluded_body_images/001_001.jpg",),
    ),
    "PartialiLIDS": _layout("PartialiLIDS/query", {"001_1.jpg": (1, 0), "119_1.jpg": (119, 0)}, "body.jpg"),
    "PeS3D": _layout("3DPeS", {"1/a.bmp": (1, 0), "1/b.bmp": (1, 0), "12/a.bmp": (12, 0)}, "a.bmp"),
    "SAIVT": _layout(
        "SAIVT-SoftBio/cropped_images",
        {"001/001-0001-c3-0001.jpeg": (1, 0), "001/001-0001-c8-0001.jpeg": (1, 1), "152/152-0002-c3-1.jpeg": (152, 0)},
        "001/a.jpeg",
        beside=("SAIVT-SoftBio/uncontrolled/a.jpeg",),
    ),
    "SYSU_mm": _layout(
        "SYSU-MM01",
        {"cam1/0001/0001.jpg": (1, 0), "cam2/0001/0001.jpg": (1, 1), "cam4/0533/1.jpg": (533, 2)}
        | {"cam5/0533/0001.jpg": (533, 3)},
        "cam1/0001.jpg",
        beside=("SYSU-MM01/cam3/0001/0001.jpg", "SYSU-MM01/cam6/0001/0001.jpg"),
    ),
    "SenseReID": _layout(
        "SenseReID",
        {"test_gallery/00000_1.jpg": (0, 1), "test_gallery/01716_1.jpg": (1716, 1), "test_prob/00000_0.jpg": (0, 0)},
        "test_prob/00000.jpg",
        beside=("SenseReID/collage.jpg",),
    ),
    "Shinpuhkan": _layout(
        "shinpuhkan",
        {"001/001_01_02_0001.jpg": (1, 2), "001/001_01_16_0001.jpg": (1, 16), "024_05_02_0001.jpg": (24, 2)},
        "001/001_01.jpg",
    ),
    "Thermalworld": _layout(
        "thermalworld_rgb", {"1/a.jpg": (1, 0), "1/b.jpg": (1, 0), "12/a.jpg": (12, 0)}, "collage.jpg"
    ),
    "VIPeR": _layout(
        "VIPeR",
        {"cam_a/000_45.bmp": (0, 0), "cam_a/873_0.bmp": (873, 0), "cam_b/000_90.bmp": (0, 1)},
        "cam_a/further/000_45.bmp",
        beside=("VIPeR/collage.bmp",),
    ),
    "WildTrackCrop": _layout(
        "Wildtrack_crop_dataset/crop",
        {"0/0_0.png": (0, 0), "0/6_0.png": (0, 6), "312/3_2000.png": (312, 3)},
        "0/0.png",
        beside=("Wildtrack_crop_dataset/0_0.png",),
    ),
    "cuhkSYSU": _layout(
        "cuhk_sysu/cropped_images",
        {"p1_s1_1.jpg": (1, 0), "p1_s22_1.jpg": (1, 0), "p8432_s3_1.jpg": (8432, 0)},
        "s1.jpg",
        beside=("cuhk_sysu/Image/p1_s1.jpg",),
        unnamed=("p-1_s1_2.jpg",),
    ),
    "iLIDS": _layout(
        "iLIDS",
        {
            "person001/cam1_person001_1.png": (0, 0),
            "person001/cam2_person001_1.png": (0, 1),
            "person319/cam2_1.png": (1, 1),
        },
        "person001/cam1.png",
    ),
}
"""By registered name. Of the sets to test on, these are the queries."""
