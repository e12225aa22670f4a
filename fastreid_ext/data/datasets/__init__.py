"""Data sets: importing this package registers them all."""

from fastreid_ext.data.datasets.base import DatasetError, ReIDDataset
from fastreid_ext.data.datasets.cars196 import Cars196
from fastreid_ext.data.datasets.cub200 import CUB200
from fastreid_ext.data.datasets.cuhk03 import CUHK03
from fastreid_ext.data.datasets.dukemtmc import DukeMTMC
from fastreid_ext.data.datasets.held_out import HeldOut, hold_out
from fastreid_ext.data.datasets.image_list import ImageList
from fastreid_ext.data.datasets.inshop import InShop
from fastreid_ext.data.datasets.market1501 import Market1501
from fastreid_ext.data.datasets.market_layout import MarketLayout
from fastreid_ext.data.datasets.msmt17 import MSMT17
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
    "MSMT17",
    "SOP",
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
    "ReIDDataset",
    "SmallVeRiWild",
    "SmallVehicleID",
    "SynthReID",
    "VeRi",
    "VeRiWild",
    "VehicleID",
    "build_dataset",
    "datasets_root",
    "hold_out",
]
