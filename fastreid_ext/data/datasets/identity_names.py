"""Sets to train on, for generalisation to other domains, whose images bear the identity in their names."""

from __future__ import annotations

from typing import ClassVar

from fastreid_ext.data.datasets.path_rule import PathRule, TrainingFolder
from fastreid_ext.data.datasets.registry import DATASETS

__all__ = ["GRID", "PKU", "PRAI", "CAVIARa", "SenseReID", "Shinpuhkan", "VIPeR", "cuhkSYSU"]

_IDENTITY_CAMERA = r"([^/_]+)_([^/_.]+)[^/]*"


@DATASETS.register(source="Cheng et al., BMVC 2011")
class CAVIARa(TrainingFolder):
    """CAVIAR4REID: people under the two cameras of a shopping centre, which names do not say; for training only.

    Reference: Cheng et al., "Custom Pictorial Structures for Re-identification", BMVC 2011.
    Counts: 1,220 images of 72 people.
    """

    layout: ClassVar[str] = "<root>/CAVIARa/\n  0001001.jpg ...   four figures of the identity, then anything"
    folder = "CAVIARa"
    rule = PathRule(r"(\d{4})[^/]*")
    statistics: ClassVar = {"train_images": 1_220, "train_ids": 72}


@DATASETS.register(source="Loy et al., CVPR 2009")
class GRID(TrainingFolder):
    """GRID, underground re-identification: people under the eight cameras of a station; for training only.

    Images of people that nobody told apart bear the number 0 and are left out.

    Reference: Loy et al., "Multi-Camera Activity Correlation Analysis", CVPR 2009.
    Counts: 500 images of 250 people; 775 of others are left out.
    """

    layout: ClassVar[str] = (
        "<root>/underground_reid/images/\n"
        "  0001_1_25004_107_32_106_221.jpeg ...   <identity>_<camera><anything>; identity 0 is nobody in particular"
    )
    folder = "underground_reid/images"
    rule = PathRule(r"(\d+)_([^/_.]+)[^/]*", camera=r"\2", first_pid=1)
    statistics: ClassVar = {"train_images": 500, "train_ids": 250}


@DATASETS.register(source="Ma et al. 2016, arXiv:1605.02464")
class PKU(TrainingFolder):
    """PKU-Reid: people from eight sides under two cameras; for training only.

    Reference: Ma et al., "Orientation Driven Bag of Appearances for Person Re-identification", arXiv:1605.02464.
    Counts: 1,824 images of 114 people.
    """

    layout: ClassVar[str] = "<root>/PKUv1a_128x48/\n  001_1_1.png ...   <identity>_<camera><anything>"
    folder = "PKUv1a_128x48"
    rule = PathRule(_IDENTITY_CAMERA, camera=r"\2")
    statistics: ClassVar = {"train_images": 1_824, "train_ids": 114}


@DATASETS.register(source="Zhang et al. 2021, arXiv:1908.05024")
class PRAI(TrainingFolder):
    """PRAI-1581: people from above, by two drones; for training only.

    Reference: Zhang et al., "Person Re-identification in Aerial Imagery", IEEE TMM 2021, arXiv:1908.05024.
    Counts: 39,461 images of 1,581 people. None is checked, as parts of it are distributed.
    """

    layout: ClassVar[str] = "<root>/PRAI-1581/images/\n  00000000_0001_00000001.jpg ...   <identity>_<camera><anything>"
    folder = "PRAI-1581/images"
    rule = PathRule(_IDENTITY_CAMERA, camera=r"\2")


@DATASETS.register(source="Zhao et al., CVPR 2017")
class SenseReID(TrainingFolder):
    """SenseReID: people in a surveillance network, published to test on, here for training only.

    Reference: Zhao et al., "Spindle Net: Person Re-identification with Human Body Region Guided Feature Decomposition
    and Fusion", CVPR 2017.
    Counts: 4,428 images, 1,040 of them queries; sources differ in the number of people. None is checked.
    """

    layout: ClassVar[str] = (
        "<root>/SenseReID/\n"
        "  test_gallery/  00000_1.jpg ...   <identity>_<camera><anything>\n"
        "  test_prob/     00000_0.jpg ..."
    )
    folder = "SenseReID"
    parts = ("test_gallery", "test_prob")
    rule = PathRule(rf"[^/]+/{_IDENTITY_CAMERA}", camera=r"\2")


@DATASETS.register(source="Kawanishi et al., FCV 2014")
class Shinpuhkan(TrainingFolder):
    """Shinpuhkan2014: people under the sixteen cameras of a shopping mall; for training only.

    Reference: Kawanishi et al., "Shinpuhkan2014: A Multi-Camera Pedestrian Dataset for Tracking People across Multiple
    Cameras", FCV 2014.
    Counts: over 22,000 images of 24 people. None is checked.
    """

    layout: ClassVar[str] = (
        "<root>/shinpuhkan/\n  001_01_02_0001.jpg ...   <identity>_<anything>_<camera><anything>, in folders or not"
    )
    folder = "shinpuhkan"
    rule = PathRule(r"(?:.*/)?([^/_]+)_[^/_]*_([^/_.]+)[^/]*", camera=r"\2")


@DATASETS.register(source="Gray et al., PETS 2007")
class VIPeR(TrainingFolder):
    """VIPeR: people from two sides, one image by each of two cameras; for training only.

    Reference: Gray et al., "Evaluating Appearance Models for Recognition, Reacquisition, and Tracking", PETS 2007.
    Counts: 1,264 images of 632 people.
    """

    layout: ClassVar[str] = (
        "<root>/VIPeR/\n  cam_a/  000_45.bmp ...   <identity><anything from _ on>\n  cam_b/  000_90.bmp"
    )
    folder = "VIPeR"
    parts = ("cam_a", "cam_b")
    rule = PathRule(r"([^/]+)/([^/_.]+)[^/]*", pid=r"\2", camera=r"\1")
    statistics: ClassVar = {"train_images": 1_264, "train_ids": 632}


@DATASETS.register(source="Xiao et al., CVPR 2017")
class cuhkSYSU(TrainingFolder):  # noqa: N801
    """CUHK-SYSU's people, cut out of street photographs and films, without cameras; for training only.

    Reference: Xiao et al., "Joint Detection and Identification Feature Learning for Person Search", CVPR 2017.
    Counts: 8,432 people in 18,184 photographs. None is checked, as it was cut out in several ways.
    """

    layout: ClassVar[str] = "<root>/cuhk_sysu/cropped_images/\n  p1_s1_1.jpg ...   p<identity>_s<scene><anything>"
    folder = "cuhk_sysu/cropped_images"
    rule = PathRule(r"[^/]*?p(-?\d+)_s\d[^/]*")
