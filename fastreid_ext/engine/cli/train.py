"""Train and evaluate: `tools/train_net.py`, `fastreid-ext-train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastreid_ext import projects
from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.data.build import build_test_sets
from fastreid_ext.engine.build import refuse_other_programs
from fastreid_ext.engine.checkpoint import Checkpointer, CheckpointError, read_checkpoint
from fastreid_ext.engine.cli.arguments import add_run_arguments, is_key, misplaced_option
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.cli.feature_writer import FeatureWriter
from fastreid_ext.engine.cli.listing import KINDS, describe
from fastreid_ext.engine.cli.summary import summarise
from fastreid_ext.engine.cli.training_sets import training_sets
from fastreid_ext.engine.ensemble import evaluate_ensemble, refuse_ensemble
from fastreid_ext.engine.launch import launch
from fastreid_ext.engine.trained_model import trained_model
from fastreid_ext.engine.trainer import DefaultTrainer
from fastreid_ext.evaluation.evaluator import EvaluationError, Results, evaluate, results_table
from fastreid_ext.evaluation.feature_files import SUFFIXES
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.dist import is_main_process
from fastreid_ext.utils.env import machine_info
from fastreid_ext.utils.files import write_json
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs."""
    parser = _parser()
    args = parser.parse_args(arguments)
    misplaced = misplaced_option(args.options)
    if misplaced:
        parser.error(f"options such as {misplaced} go before the first KEY")
    if args.save_features is not None and len(args.options) % 2 and is_key(args.save_features):
        # The option's value may be left out, and argparse took the first KEY for it.
        args.options.insert(0, args.save_features)
        args.save_features = ""
    if args.save_features is not None and not args.eval_only:
        parser.error("--save-features goes with --eval-only: train first, then evaluate and save")
    run(lambda: _program(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train a re-identification model, or evaluate one.",
        epilog="KEY VALUE pairs overwrite the config: SOLVER.MAX_EPOCH 10 OUTPUT_DIR logs/mine",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS (or the run to --resume)")
    parser.add_argument(
        "--save-features",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="with --eval-only: write the features of each test set there (default: OUTPUT_DIR/features)",
    )
    parser.add_argument("--features-format", default="npz", choices=[suffix[1:] for suffix in SUFFIXES])
    parser.add_argument("--list", nargs="?", const="", choices=["", *KINDS], metavar="KIND", help="print what exists")
    add_run_arguments(parser)
    return parser


def _program(args: argparse.Namespace) -> None:
    if args.list is not None:
        print(describe(args.list, args.config_file))
        return
    cfg = load_config(args.config_file, args.options)
    writer = None
    if args.save_features is not None:
        folder = args.save_features or Path(cfg.OUTPUT_DIR) / "features"
        writer = FeatureWriter(folder, f".{args.features_format}", cfg.DATASETS.TESTS)
    launch(
        train_or_evaluate,
        (cfg, args.resume_from or args.resume, args.eval_only, writer),
        num_processes=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        device=cfg.MODEL.DEVICE,
    )


def train_or_evaluate(
    cfg: CfgNode, resume: bool | str, eval_only: bool, on_features: FeatureWriter | None = None
) -> None:
    """What every process of the run does."""
    run(lambda: _train_or_evaluate(cfg, resume, eval_only, on_features))


def _train_or_evaluate(cfg: CfgNode, resume: bool | str, eval_only: bool, on_features: FeatureWriter | None) -> None:
    setup_logger(cfg.OUTPUT_DIR)
    keep_freed_memory()
    log = get_logger(__name__)
    log.info("  ".join(f"{name} {value}" for name, value in machine_info().items()))
    if eval_only:
        _evaluate(cfg, resume, on_features)
        return
    refuse_other_programs(cfg)
    refuse_ensemble(cfg)
    trainer = DefaultTrainer(cfg, show_progress=is_main_process() and sys.stderr.isatty())
    for dataset in trainer.data.datasets:
        log.info(
            f"{dataset.spec}: " + ", ".join(f"{s} {n} images of {i} identities" for s, i, n, _ in dataset.summary())
        )
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    log.info(f"{cfg.MODEL.META_ARCHITECTURE}: {parameters / 1e6:.3f} M parameters to train, classifiers included")
    trainer.resume_or_load(resume)
    results = trainer.train()
    unreadable = trainer.unreadable_images()
    if is_main_process():
        log.info("\n" + summarise(cfg, results, trainer.best, unreadable))


def _evaluate(cfg: CfgNode, resume: bool | str, on_features: FeatureWriter | None) -> None:
    if not cfg.DATASETS.TESTS:
        raise ConfigError("DATASETS.TESTS is empty: there is nothing to evaluate on; name test sets")
    # A process that got the config from another one has not loaded its projects.
    for name in cfg.PROJECTS:
        projects.load(name)
    path, state = _checkpoint(cfg, resume)
    datasets = build_test_sets(cfg)
    try:
        if cfg.TEST.ENSEMBLE:
            sets_of = partial(training_sets, cfg, tests=datasets)
            results = evaluate_ensemble(cfg, path, datasets, training_sets=sets_of, on_features=on_features)
        else:
            model = trained_model(cfg, state, source=path)
            sets = training_sets(cfg, state, datasets)
            results = evaluate(cfg, model, datasets, trained_on=sets, on_features=on_features)
    except EvaluationError as error:
        _report(cfg, error.results)
        raise
    _report(cfg, results)


def _report(cfg: CfgNode, results: Results) -> None:
    if is_main_process():
        write_json(Path(cfg.OUTPUT_DIR) / "results.json", results)
        get_logger(__name__).info("\n" + results_table(results))


def _checkpoint(cfg: CfgNode, resume: bool | str) -> tuple[str, dict[str, Any]]:
    if resume is True:
        found = Checkpointer(cfg.OUTPUT_DIR).load_last()
        if found is None:
            raise CheckpointError(f"no checkpoint in {cfg.OUTPUT_DIR} to evaluate")
        return str(found[0]), found[1]
    path = resume if isinstance(resume, str) else cfg.MODEL.WEIGHTS
    if not path:
        raise CheckpointError("--eval-only needs MODEL.WEIGHTS, the checkpoint to evaluate, on the command line")
    return path, read_checkpoint(path)
