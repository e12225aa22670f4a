"""What a loss must stand before anybody trains with it."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid_ext.config import CfgNode
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.rejection import Screening, Verdict
from fastreid_ext.projects.gms.toy_task import ToyTask

__all__ = ["LossScreen"]


class LossScreen:
    """The loss-rejection protocol: values and properties of many losses at once, the toy task of each that is new.

    Args:
        cfg: its `SEARCH.LOSS` has the thresholds.
    """

    def __init__(self, cfg: CfgNode) -> None:
        node = cfg.SEARCH.LOSS
        self.screening = Screening(points=node.POINTS, digits=node.DIGITS, property_share=node.PROPERTY_SHARE)
        self.toy_task = ToyTask(batch_size=node.TOY_BATCH)
        self.toy_accuracy = node.TOY_ACCURACY

    def examine(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """The first two stages, and the key of the equivalence check."""
        return self.screening.check(candidates)

    def test(self, candidate: Candidate) -> str:
        """The toy task: why a candidate is rejected, or ""."""
        accuracy = self.toy_task.accuracies([candidate])[0]
        if accuracy >= self.toy_accuracy:
            return ""
        return f"toy: accuracy {accuracy:.3g}, {self.toy_accuracy:.3g} is needed"
