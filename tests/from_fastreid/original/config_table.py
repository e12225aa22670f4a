"""What becomes of each of FastReID's own configs here, as a table; with `--check`, whether a document holds just that.

python tests/from_fastreid/original/config_table.py [--check docs/from_fastreid.md]
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from fastreid_ext.compat.config_report import explain
from fastreid_ext.compat.importing import make_importable
from fastreid_ext.config import load_config
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.modeling import build_model

FOLDER = Path(__file__).resolve().parents[1]
CONFIGS = FOLDER / "configs"
COLUMNS = ("loads", "builds", "features equal", "trains a step", "evaluates", "differences", "likely mistakes")
CPU = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
# Of the smallest images whose maps have the three rows that FastReID's MGN needs.
SIZE = [96, 32]
SMALL = {
    "INPUT.SIZE_TRAIN": SIZE,
    "INPUT.SIZE_TEST": SIZE,
    "DATALOADER.NUM_INSTANCE": 4,
    "DATALOADER.NUM_WORKERS": 1,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 1,
    # A first epoch of its own, in which everything learns.
    "SOLVER.DELAY_EPOCHS": 0,
    "SOLVER.FREEZE_ITERS": 0,
}
BEGIN, END = "<!-- configs: begin -->", "<!-- configs: end -->"
TOLERANCE = 1e-5

Row = tuple[str, list[str]]
"""A config and its cells; what fails with an error ends the program."""


def differing_features(file: str) -> float:
    """Largest difference between FastReID's features and ours, with the same random weights."""
    make_importable()
    from fastreid.modeling import build_model as build_original
    from side_by_side import largest_difference, original_config

    small = [item for key, value in SMALL.items() if key.startswith("INPUT") for item in (key, value)]
    theirs = build_original(original_config(file, [*small, "MODEL.HEADS.NUM_CLASSES", 4]))
    options = [*CPU, *small, "MODEL.HEADS.NUM_CLASSES", 4, "COMPAT.ONE_CHANNEL_NON_LOCAL", True]
    ours = build_model(load_config(CONFIGS / file, options))
    images = torch.rand(4, 3, *SIZE) * 255
    return largest_difference(theirs, ours, images)


def train_a_step(file: str, folder: Path) -> tuple[bool, bool]:
    """Whether a step of training changes the weights, and whether the model is then evaluated."""
    sys.path.insert(0, str(FOLDER))
    from tiny_sets import TINY_SETS

    for write in TINY_SETS.values():
        write(folder)
    plain = load_config(CONFIGS / file, CPU)
    small = [item for pair in SMALL.items() for item in pair]
    # Base files name no data set; FastReID's default is Market1501.
    sets = {
        key: tuple(f"{'Market1501' if name == 'SynthReID' else name}:strict=False" for name in plain.DATASETS[key])
        for key in ("NAMES", "TESTS")
    }
    cfg = load_config(
        CONFIGS / file,
        [*CPU, *small, "DATASETS.ROOT", str(folder), "OUTPUT_DIR", str(folder / "run")]
        + [item for key, names in sets.items() for item in (f"DATASETS.{key}", names)],
    )
    trainer = DefaultTrainer(cfg)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters() if parameter.requires_grad]
    results = trainer.train()
    after = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    changed = sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    trained = trainer.loop.iteration == 1 and changed > 0.9 * len(before)
    return trained, len(results) == len(cfg.DATASETS.TESTS) and all(math.isfinite(r["mAP"]) for r in results.values())


def rows(files: list[str]) -> tuple[list[Row], float]:
    """Rows of configs that describe one model, and by how much its features differ."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    difference = differing_features(files[0])
    made = []
    for file in files:
        load_config(CONFIGS / file)
        build_model(load_config(CONFIGS / file, [*CPU, "MODEL.HEADS.NUM_CLASSES", 4]))
        with tempfile.TemporaryDirectory() as folder:
            went_well = (True, True, difference <= TOLERANCE, *train_a_step(file, Path(folder)))
        explained = explain(CONFIGS / file)
        counts = (len(explained.differences), len(explained.mistakes))
        made.append((file, ["yes" if fine else "NO" for fine in went_well] + [str(count) for count in counts]))
    return made, difference


def models(files: list[str]) -> list[list[str]]:
    """The files of each model; files that differ in data and schedule only come together."""
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(load_config(CONFIGS / file).MODEL.dump(), []).append(file)
    return list(groups.values())


def table(files: list[str], processes: int) -> str:
    """The rows of all configs in Markdown; says how equal features are on the way."""
    found: list[Row] = []
    largest = 0.0
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for made, difference in pool.map(rows, models(files)):
            largest = max(largest, difference)
            found += made
            print(f"{', '.join(file for file, _ in made)}: features differ by {difference:.1e}", flush=True)
    print(f"{len(found)} configs of {len(models(files))} models; features differ by {largest:.1e} at most")
    lines = [f"| {file} | {' | '.join(cells)} |" for file, cells in sorted(found)]
    return "\n".join([f"| config | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}", *lines])


def main() -> int:
    """1 if a document was to be checked and holds another table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", type=Path, metavar="DOCUMENT", help="fail unless it holds the table")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="put the table into it")
    parser.add_argument("--only", default="*.yml", help="of which configs, as a pattern")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    files = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob(args.only))
    made = table(files, args.processes)
    document = args.check or args.write
    if document is None:
        print(made)
        return 0
    before, rest = document.read_text(encoding="utf-8").split(BEGIN)
    found, after = rest.split(END)
    if args.write:
        document.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
    elif found.strip() != made:
        print(f"{document} holds another table: run this with --write {document}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
