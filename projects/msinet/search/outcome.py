"""What a search leaves: the genotype, and a config that trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from fastreid_ext.config import CfgNode, ConfigError, load_config, nested_changes
from fastreid_ext.projects.msinet.search.supernet import MSISupernet
from fastreid_ext.utils.files import atomic_write, write_json

__all__ = ["describe_outcome", "training_config", "write_outcome"]


_WARMUP_EPOCHS = 10
# Weights of a layer's two heaviest operations that differ by less have hardly moved from where they started.
_UNDECIDED = 0.01
_OF_THE_SEARCH = ("INPUT", "DATASETS", "DATALOADER")


def write_outcome(cfg: CfgNode, supernet: MSISupernet, *, images: int) -> None:
    """Writes `genotype.json` and `train.yml` to the output folder.

    Args:
        cfg: of the search.
        supernet: at its end.
        images: of both splits together.
    """
    node, output = cfg.SEARCH.ARCH, Path(cfg.OUTPUT_DIR)
    found = {
        "genotype": supernet.genotype(),
        "operations": supernet.operations,
        "weights": supernet.architecture_weights().tolist(),
        "supervision": node.SUPERVISION,
        "split": list(node.SPLIT),
        "data": list(cfg.DATASETS.NAMES),
        "epochs": cfg.SOLVER.MAX_EPOCH,
        "seed": cfg.SEED,
    }
    write_json(output / "genotype.json", found)
    path = output / "train.yml"
    values = training_config(cfg, supernet.genotype(), images=images)
    with atomic_write(path) as file:
        file.write(f"# MSINet with the interactions that {output / 'config.yaml'} found.\n")
        file.write(f"#   python tools/train_net.py --config-file {path}\n")
        yaml.safe_dump(values, file, sort_keys=False)


def training_config(cfg: CfgNode, genotype: str, *, images: int = 0) -> dict[str, Any]:
    """The recipe `SEARCH.ARCH.TRAIN_CONFIG` with a genotype, on the data and images of the search.

    A recipe's warm-up is so many steps of its own data; on other data it takes ten epochs, as the paper's does.

    Args:
        cfg: of the search.
        genotype: letters.
        images: of the training data.

    Returns:
        The keys that differ from the defaults.

    Raises:
        ConfigError: the recipe cannot be read or is not for MSINet.
    """
    recipe = _recipe(cfg)
    if list(recipe.DATASETS.NAMES) != list(cfg.DATASETS.NAMES):
        recipe.SOLVER.WARMUP_ITERS = _WARMUP_EPOCHS * max(1, images // recipe.SOLVER.IMS_PER_BATCH)
    recipe.INPUT, recipe.DATASETS, recipe.DATALOADER = (cfg[name].clone() for name in _OF_THE_SEARCH)
    recipe.MODEL.MSINET = cfg.MODEL.MSINET.clone()
    # The nodes of the search came frozen.
    recipe.defrost()
    recipe.DATASETS.TESTS = tuple(cfg.DATASETS.TESTS) or tuple(cfg.DATASETS.NAMES)
    recipe.MODEL.MSINET.GENOTYPE = genotype
    recipe.SEED = cfg.SEED
    recipe.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / "trained")
    # What the search was is told by its own files.
    return nested_changes(recipe, without="SEARCH")


def describe_outcome(cfg: CfgNode, supernet: MSISupernet) -> str:
    """The genotype, the weights behind it, and the command that trains it."""
    output = Path(cfg.OUTPUT_DIR)
    weights = supernet.architecture_weights().tolist()
    chosen = zip(supernet.genotype(), weights, strict=True)
    rows = [[layer, letter, *row] for layer, (letter, row) in enumerate(chosen, start=1)]
    table = tabulate(rows, headers=["layer", "chosen", *supernet.operations], floatfmt=".4f", tablefmt="github")
    undecided = [number for number, row in enumerate(map(sorted, weights), start=1) if row[-1] - row[-2] < _UNDECIDED]
    warning = (
        f"undecided: in {len(undecided)} of {len(weights)} layers ({', '.join(map(str, undecided))}) the two heaviest "
        f"operations differ by less than {_UNDECIDED}: search longer, or raise SEARCH.ARCH.BASE_LR"
    )
    return "\n".join(
        (
            table,
            f"genotype: {supernet.genotype()}",
            *([warning] if undecided else []),
            f"genotype, weights over the epochs, log and checkpoints: {output}",
            f"train it: python tools/train_net.py --config-file {output / 'train.yml'}",
        )
    )


def _recipe(cfg: CfgNode) -> CfgNode:
    name = cfg.SEARCH.ARCH.TRAIN_CONFIG
    try:
        recipe: CfgNode = load_config(name, ["PROJECTS", list(cfg.PROJECTS)]).clone()
    except ConfigError as error:
        raise ConfigError(f"SEARCH.ARCH.TRAIN_CONFIG cannot be used: {error}") from error
    if recipe.MODEL.BACKBONE.NAME != "MSINet":
        raise ConfigError(
            f"SEARCH.ARCH.TRAIN_CONFIG {name!r} trains {recipe.MODEL.BACKBONE.NAME}, which has no genotype: name a "
            f"config of MSINet, such as msinet/msmt"
        )
    recipe.defrost()
    return recipe
