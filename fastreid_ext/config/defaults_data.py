"""`INPUT`, `DATASETS` and `DATALOADER`: images on their way into batches."""

from __future__ import annotations

from fastreid_ext.config.node import CfgNode

__all__ = ["IMAGENET_MEAN", "dataloader_defaults", "dataset_defaults", "input_defaults"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)


def input_defaults() -> CfgNode:
    """A new copy of `INPUT`."""
    inputs = CfgNode()
    # Height, width.
    inputs.SIZE_TRAIN = [256, 128]
    # Height, width.
    inputs.SIZE_TEST = [256, 128]
    # A random part of each training image, resized; tests take the middle.
    inputs.CROP = CfgNode()
    # Turn it on.
    inputs.CROP.ENABLED = False
    # Height, width of the result.
    inputs.CROP.SIZE = [224, 224]
    # Smallest and largest share of the image.
    inputs.CROP.SCALE = [0.16, 1.0]
    # Smallest and largest width over height.
    inputs.CROP.RATIO = [3.0 / 4.0, 4.0 / 3.0]
    # Mirror images left to right.
    inputs.FLIP = CfgNode()
    # Turn it on.
    inputs.FLIP.ENABLED = False
    # Probability of an image.
    inputs.FLIP.PROB = 0.5
    # Pad, then crop to the size at a random place.
    inputs.PADDING = CfgNode()
    # Turn it on.
    inputs.PADDING.ENABLED = False
    # constant (black), edge, reflect or symmetric.
    inputs.PADDING.MODE = "constant"
    # Pixels on each side.
    inputs.PADDING.SIZE = 10
    _add_colours(inputs)
    _add_rectangles(inputs)
    # Further registered transforms, such as your own, ahead of REA and RPT (new).
    inputs.TRANSFORMS = []
    return inputs


def _add_colours(inputs: CfgNode) -> None:
    # Colour jitter.
    inputs.CJ = CfgNode()
    # Turn it on.
    inputs.CJ.ENABLED = False
    # Probability of an image.
    inputs.CJ.PROB = 0.5
    # Factors are drawn from 1 - BRIGHTNESS to 1 + BRIGHTNESS.
    inputs.CJ.BRIGHTNESS = 0.15
    # The same for the contrast.
    inputs.CJ.CONTRAST = 0.15
    # The same for the saturation.
    inputs.CJ.SATURATION = 0.1
    # Parts of a turn of the colour circle, at most 0.5, to either side.
    inputs.CJ.HUE = 0.1
    # Random rotation, scale and shear.
    inputs.AFFINE = CfgNode()
    # Turn it on.
    inputs.AFFINE.ENABLED = False
    # AutoAugment with the policy of ImageNet.
    inputs.AUTOAUG = CfgNode()
    # Turn it on; PROB says for how many images.
    inputs.AUTOAUG.ENABLED = False
    # Probability of an image: none unless it is set.
    inputs.AUTOAUG.PROB = 0.0
    # AugMix.
    inputs.AUGMIX = CfgNode()
    # Turn it on; PROB says for how many images.
    inputs.AUGMIX.ENABLED = False
    # Probability of an image: none unless it is set.
    inputs.AUGMIX.PROB = 0.0


def _add_rectangles(inputs: CfgNode) -> None:
    # Random erasing of a rectangle.
    inputs.REA = CfgNode()
    # Turn it on.
    inputs.REA.ENABLED = False
    # Probability of an image.
    inputs.REA.PROB = 0.5
    # RGB colour, 0-255, of MODE const.
    inputs.REA.VALUE = list(IMAGENET_MEAN)
    # What the rectangle is filled with: "const", the colour VALUE; "rand", a random colour; "pixel", noise. Both are
    # standard normal on the scale of normalised images (new).
    inputs.REA.MODE = "const"
    # Random patches: a rectangle of another image.
    inputs.RPT = CfgNode()
    # Turn it on.
    inputs.RPT.ENABLED = False
    # Probability of an image.
    inputs.RPT.PROB = 0.5


def dataset_defaults() -> CfgNode:
    """A new copy of `DATASETS`."""
    datasets = CfgNode()
    # Registered data sets, with options as "SynthReID:kind=vehicle,seed=3" or "MarketLayout:/path/to/folder".
    datasets.NAMES = ("SynthReID",)
    # Data sets to evaluate on, named likewise.
    datasets.TESTS = ("SynthReID",)
    # Train on the query and gallery images too.
    datasets.COMBINEALL = False
    # Folder of the data sets; empty: the environment variable FASTREID_DATASETS, else "datasets" (new).
    datasets.ROOT = ""
    return datasets


def dataloader_defaults() -> CfgNode:
    """A new copy of `DATALOADER`."""
    loader = CfgNode()
    # What batches are made of: TrainingSampler (shuffled images), NaiveIdentitySampler (identities), ...
    loader.SAMPLER_TRAIN = "TrainingSampler"
    # Images of an identity in a batch, for the identity samplers.
    loader.NUM_INSTANCE = 4
    # Where decoded images are kept: "device" (the memory of the training device), "pinned" (page-locked host memory,
    # for GPUs), "mmap" (a file that outlives the run and that all processes share), "stream" (nowhere: images are
    # decoded again for every batch), or "auto", which takes what has room and says so (new).
    loader.STORE = "auto"
    # Folder of the files of "mmap"; empty: fastreid_ext/images in $FASTREID_CACHE, else in the user's caches (new).
    loader.STORE_DIR = ""
    # Threads of each process that decode and augment; 0: as many as there are cores (FastReID: processes).
    loader.NUM_WORKERS = 8
    # One weight for each set of DATASETS.NAMES, for SetReWeightSampler: the ratios of their identities in a batch.
    loader.SET_WEIGHT = []
    return loader
