"""Sets to train on, for generalisation to other domains, that keep a folder for each identity."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fastreid_ext.data.datasets.files import text_lines
from fastreid_ext.data.datasets.path_rule import PathRule, TrainingFolder
from fastreid_ext.data.datasets.registry import DATASETS

__all__ = [
    "LPW",
    "PRID",
    "SAIVT",
    "AirportALERT",
    "PeS3D",
    "SYSU_mm",
    "Thermalworld",
    "WildTrackCrop",
    "iLIDS",
]


@DATASETS.register(source="Karanam et al., TPAMI 2019")
class AirportALERT(TrainingFolder):
    """Airport: people under six cameras behind an airport's security check; for training only.

    Reference: Karanam et al., "A Systematic Evaluation and Benchmark for Person Re-Identification: Features, Metrics,
    and Datasets", TPAMI 2019.
    Counts: 39,902 images of 9,651 people. Numbers below 11001 are left out, as FastReID does. None is checked.
    """

    layout: ClassVar[str] = (
        "<root>/AirportALERT/\n"
        "  filepath.txt   lines '<camera>\\<identity>\\<image>', the images that are used\n"
        "  cam1/11001/    <camera>/<identity>/, the images"
    )
    folder = "AirportALERT"
    rule = PathRule(r"([^/]+)/(\d+)/.+", pid=r"\2", camera=r"\1", first_pid=11_001)

    def listed(self, folder: Path) -> list[str]:
        index = folder / "filepath.txt"
        self.require(index)
        return sorted(line.replace("\\", "/") for line in text_lines(index))


@DATASETS.register(source="Wang et al., ECCV 2014")
class iLIDS(TrainingFolder):  # noqa: N801
    """iLIDS-VID: people under two cameras of an airport's arrival hall; for training only.

    Reference: Wang et al., "Person Re-identification by Video Ranking", ECCV 2014.
    Counts: 42,495 frames of 300 people. None is checked, as copies hold a selection of the frames.
    """

    layout: ClassVar[str] = "<root>/iLIDS/\n  person001/  cam1_person001_00317.png ...   <identity>/<camera>_<anything>"
    folder = "iLIDS"
    rule = PathRule(r"([^/]+)/([^/_]+)_[^/]*", camera=r"\2")


@DATASETS.register(source="Song et al., AAAI 2018")
class LPW(TrainingFolder):
    """LPW, Labeled Pedestrian in the Wild: people in three scenes of three and four cameras; for training only.

    Scenes number people and cameras anew: here they are told apart.

    Reference: Song et al., "Region-based Quality Estimation Network for Large-scale Person Re-identification", AAAI
    2018.
    Counts: 592,438 images of 2,731 people; FastReID's folder holds a selection. None is checked.
    """

    layout: ClassVar[str] = (
        "<root>/pep_256x128/data_slim/\n"
        "  scen1/  view1/1/*.jpg ...   <scene>/<camera>/<identity>/<anything>\n"
        "  scen2/\n"
        "  scen3/"
    )
    folder = "pep_256x128/data_slim"
    parts = ("scen1", "scen2", "scen3")
    rule = PathRule(r"([^/]+)/([^/]+)/([^/]+)/[^/]+", pid=r"\1-\3", camera=r"\1-\2")


@DATASETS.register(source="Hirzer et al., SCIA 2011")
class PRID(TrainingFolder):
    """PRID 2011: people on a street and a zebra crossing, under two cameras; for training only.

    Reference: Hirzer et al., "Person Re-Identification by Descriptive and Discriminative Classification", SCIA 2011.
    Counts: 385 people under one camera and 749 under the other, 200 under both. None is checked, as the folder holds a
    selection.
    """

    layout: ClassVar[str] = (
        "<root>/prid_2011/slim_train/\n"
        "  person_0001/  a_0001.png ...   <anything>_<identity>/<camera>_<anything>, in further folders or not"
    )
    folder = "prid_2011/slim_train"
    rule = PathRule(r"(?:.*/)?[^/_]*_([^/_]+)[^/]*/([^/_]+)_[^/]*", camera=r"\2")


@DATASETS.register(source="Baltieri et al., J-HGBU 2011")
class PeS3D(TrainingFolder):
    """3DPeS: people under the eight cameras of a campus, of which file names say nothing; for training only.

    Reference: Baltieri et al., "3DPeS: 3D People Dataset for Surveillance and Forensics", J-HGBU 2011.
    Counts: 1,011 images of 192 people. None is checked, as there are several releases.
    """

    layout: ClassVar[str] = "<root>/3DPeS/\n  1/  *.bmp ...   <identity>/<anything>"
    folder = "3DPeS"
    rule = PathRule(r"([^/]+)/[^/]+")


@DATASETS.register(source="Bialkowski et al., DICTA 2012")
class SAIVT(TrainingFolder):
    """SAIVT-SoftBio: people under the eight cameras of a building; for training only.

    Reference: Bialkowski et al., "A Database for Person Re-Identification in Multi-Camera Surveillance Networks", DICTA
    2012.
    Counts: 152 people. Images are not checked, as copies hold a selection.
    """

    layout: ClassVar[str] = (
        "<root>/SAIVT-SoftBio/cropped_images/\n"
        "  001/  001-0001-c1-0025.jpeg ...   <identity>/<anything>-<anything>-<camera><anything>"
    )
    folder = "SAIVT-SoftBio/cropped_images"
    rule = PathRule(r"([^/]+)/[^/-]*-[^/-]*-([^/.-]+)[^/]*", camera=r"\2")


@DATASETS.register(source="Wu et al., ICCV 2017")
class SYSU_mm(TrainingFolder):  # noqa: N801
    """SYSU-MM01's images in colour: people under four cameras; for training only.

    The images of its two infrared cameras are left out.

    Reference: Wu et al., "RGB-Infrared Cross-Modality Person Re-Identification", ICCV 2017.
    Counts: 491 people. None is checked.
    """

    layout: ClassVar[str] = (
        "<root>/SYSU-MM01/\n  cam1/  0001/0001.jpg ...   <camera>/<identity>/<anything>\n  cam2/\n  cam4/\n  cam5/"
    )
    folder = "SYSU-MM01"
    parts = ("cam1", "cam2", "cam4", "cam5")
    rule = PathRule(r"([^/]+)/([^/]+)/[^/]+", pid=r"\2", camera=r"\1")


@DATASETS.register(source="Kniaz et al., ECCVW 2018")
class Thermalworld(TrainingFolder):
    """ThermalWorld's images in colour, of which file names say no camera; for training only.

    Reference: Kniaz et al., "ThermalGAN: Multimodal Color-to-Thermal Image Translation for Person Re-identification in
    Multispectral Dataset", ECCVW 2018.
    Counts: none is checked.
    """

    layout: ClassVar[str] = "<root>/thermalworld_rgb/\n  1/  *.jpg ...   <identity>/<anything>"
    folder = "thermalworld_rgb"
    rule = PathRule(r"([^/]+)/[^/]+")


@DATASETS.register(source="Chavdarova et al., CVPR 2018")
class WildTrackCrop(TrainingFolder):
    """WILDTRACK's pedestrians, cut out: people before a university under seven cameras; for training only.

    Reference: Chavdarova et al., "WILDTRACK: A Multi-camera HD Dataset for Dense Unscripted Pedestrian Detection", CVPR
    2018.
    Link: https://www.epfl.ch/labs/cvlab/data/data-wildtrack/
    Counts: 33,979 images of 313 people by FastReID's count. None is checked.
    """

    layout: ClassVar[str] = "<root>/Wildtrack_crop_dataset/crop/\n  1/  0_0.png ...   <identity>/<camera>_<anything>"
    folder = "Wildtrack_crop_dataset/crop"
    rule = PathRule(r"([^/]+)/([^/_]+)_[^/]*", camera=r"\2")
