"""What a user wants to know when a training ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastreid_ext.config import CfgNode
from fastreid_ext.engine.hooks import BestCheckpointer
from fastreid_ext.evaluation.evaluator import Results, results_table

__all__ = ["summarise"]


def summarise(cfg: CfgNode, results: Results, best: BestCheckpointer | None, unreadable: Mapping[str, str]) -> str:
    """The results as a table, the best checkpoint, unreadable images, and where everything is.

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
    lines.append(
        f"evaluate again: python tools/train_net.py --config-file {output / 'config.yaml'} --eval-only "
        f"MODEL.WEIGHTS {output / 'model_final.pth'} OUTPUT_DIR {output / 'evaluation'}"
    )
    return "\n".join(lines)
