"""Data sets: importing this package registers them all."""

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.cars196 import Cars196
from fastreid_ext.data.datasets.cub200 import CUB200
from fastreid_ext.data.datasets.cuhk03 import CUHK03
from fastreid_ext.data.datasets.dukemtmc import DukeMTMC
from fastreid_ext.data.datasets.held_out import HeldOut, hold_out
from fastreid_ext.data.datasets.identity_folders import (
    LPW,
    PRID,
    SAIVT,
    AirportALERT,
    PeS3D,
    SYSU_mm,
    Thermalworld,
    WildTrackCrop,
    iLIDS,
)
from fastreid_ext.data.datasets.identity_names import (
    GRID,
    PKU,
    PRAI,
    CAVIARa,
    SenseReID,
    Shinpuhkan,
    VIPeR,
    cuhkSYSU,
)
from fastreid_ext.data.datasets.image_list import ImageList
from fastreid_ext.data.datasets.inshop import InShop
from fastreid_ext.data.datasets.market1501 import Market1501
from fastreid_ext.data.datasets.market_layout import MarketLayout
from fastreid_ext.data.datasets.msmt17 import MSMT17
from fastreid_ext.data.datasets.partial_reid import OccludedREID, PartialiLIDS, PartialREID
from fastreid_ext.data.datasets.path_rule import PathRule, TrainingFolder
from fastreid_ext.data.datasets.registry import DATASETS, build_dataset, datasets_root
from fastreid_ext.data.datasets.sop import SOP
from fastreid_ext.data.datasets.synthreid import SynthReID
from fastreid_ext.data.datasets.vehicleid import LargeVehicleID, MediumVehicleID, SmallVehicleID, VehicleID
from fastreid_ext.data.datasets.veri import VeRi
from fastreid_ext.data.datasets.veriwild import LargeVeRiWild, MediumVeRiWild, SmallVeRiWild, VeRiWild

__all__ = [
    "CUB200",
    "CUHK03",
    "DATASETS",
    "GRID",
    "LPW",
    "MSMT17",
    "PKU",
    "PRAI",
    "PRID",
    "SAIVT",
    "SOP",
    "AirportALERT",
    "CAVIARa",
    "Cars196",
    "DatasetError",
    "DukeMTMC",
    "HeldOut",
    "ImageList",
    "InShop",
    "LargeVeRiWild",
    "LargeVehicleID",
    "Market1501",
    "MarketLayout",
    "MediumVeRiWild",
    "MediumVehicleID",
    "OccludedREID",
    "PartialREID",
    "PartialiLIDS",
    "PathRule",
    "PeS3D",
    "ReIDDataset",
    "SYSU_mm",
    "SenseReID",
    "Shinpuhkan",
    "SmallVeRiWild",
    "SmallVehicleID",
    "SynthReID",
    "Thermalworld",
    "TrainingFolder",
    "VIPeR",
    "VeRi",
    "VeRiWild",
    "VehicleID",
    "WildTrackCrop",
    "build_dataset",
    "cuhkSYSU",
    "datasets_root",
    "hold_out",
    "iLIDS",
]
