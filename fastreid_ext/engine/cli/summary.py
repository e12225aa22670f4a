"""What a user wants to know when a training ends."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from fastreid_ext.config import CfgNode
from fastreid_ext.engine.cli.commands import command
from fastreid_ext.engine.hooks import BestCheckpointer
from fastreid_ext.evaluation.evaluator import Results, build_evaluator, results_table
from fastreid_ext.evaluation.evaluators import Evaluator

__all__ = ["summarise"]


def summarise(cfg: CfgNode, results: Results, best: BestCheckpointer | None, unreadable: Mapping[str, str]) -> str:
    """The results as a table, the best checkpoint, unreadable images, where everything is, and what can be done next.

    Args:
        cfg: of the run.
        results: of the last evaluation.
        best: the hook that kept the best checkpoint.
        unreadable: training images that could not be read, and why.
    """
    output = Path(cfg.OUTPUT_DIR)
    lines = [results_table(results)] if results else []
    if best is not None and best.best is not None:
        lines.append(f"best {best.metric}: {best.best:.1f} after epoch {best.best_epoch} ({output / 'model_best.pth'})")
    if unreadable:
        lines.append(f"{len(unreadable)} training images could not be read and were replaced by others:")
        lines += [f"  {path}: {reason}" for path, reason in sorted(unreadable.items())]
    lines.append(f"results, log, config and checkpoints: {output}")
    lines += [f"{purpose + ':':<18}{line}" for purpose, line in _next_commands(cfg, output).items()]
    return "\n".join(lines)


def _next_commands(cfg: CfgNode, output: Path) -> dict[str, str]:
    """A command to copy for each purpose. Those that take a model take that of the folder, the best one first."""
    run = str(output)
    commands = {"losses, images": shlex.join(["tensorboard", "--logdir", run])}
    if cfg.DATASETS.TESTS:
        config, weights = str(output / "config.yaml"), str(output / "model_final.pth")
        words = ["--config-file", config, "--eval-only", "MODEL.WEIGHTS", weights, "OUTPUT_DIR"]
        commands["evaluate again"] = command("train_net", *words, str(output / "evaluation"))
    ranks = not cfg.DATASETS.TESTS or isinstance(build_evaluator(cfg), Evaluator)
    if ranks and cfg.DATASETS.TESTS:
        commands["look at results"] = command("visualize", run, "--output", str(output / "report.html"))
    commands["export"] = command("export", run, "--format", "onnx", "--output", str(output / "model.onnx"))
    if ranks:
        commands["search images"] = command(
            "gallery", "build", run, "path/to/images", "--output", str(output / "gallery")
        )
    return commands
