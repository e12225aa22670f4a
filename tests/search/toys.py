"""A small search for the tests of searches: numbers near 0.5 are good."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastreid_ext.search.driver import Search
from fastreid_ext.search.errors import SearchStopped
from fastreid_ext.search.protocols import Job, Proposal, Trial
from fastreid_ext.search.trials import TrialStore


class Climber:
    """Steps from the best number so far; what it asks for depends on everything that it was told, and when."""

    def __init__(self, seed: int = 0, *, size: int | None = None, told: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.size = size
        self.told = told
        self.asked = 0
        self.known: dict[str, int] = {}
        self.scores: dict[int, float] = {}

    def ask(self) -> Sequence[Proposal]:
        if self.size is not None and self.asked >= self.size:
            return []
        self.asked += 1
        best = max(self.scores, key=lambda number: (self.scores[number], number), default=None)
        centre = self.scores[best] if best is not None else 0.0
        rejected = [
            Proposal({"x": float(self.rng.random())}, "rejected", reason=f"{stage}: by chance {self.told}")
            for stage in ("values", "properties", "values")[: self.rng.integers(4)]
        ]
        x = round(float(centre + self.rng.normal() * 0.1 + 1e-3 * self.told), 2)
        parents = (best,) if best is not None else ()
        if str(x) in self.known:
            return [*rejected, Proposal({"x": x}, "duplicate", parents, key=str(x), duplicate_of=self.known[str(x)])]
        return [*rejected, Proposal({"x": x}, "evaluate", parents, "step", key=str(x))]

    def recorded(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if trial.proposal.verdict == "evaluate":
                self.known[trial.proposal.key] = trial.number

    def tell(self, trial: Trial) -> None:
        self.told += 1
        if trial.score is not None:
            self.scores[trial.number] = trial.score

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state, "told": self.told, "asked": self.asked}

    def load_state_dict(self, state: dict[str, Any], trials: Sequence[Trial]) -> None:
        self.rng.bit_generator.state = state["rng"]
        self.told, self.asked = state["told"], state["asked"]
        self.recorded(trials)
        self.scores = {t.number: t.score for t in trials if t.state == "evaluated" and t.score is not None}


class Planned:
    """Proposes the given candidates, in order."""

    def __init__(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        self.candidates = [dict(candidate) for candidate in candidates]
        self.next = 0
        self.told: list[int] = []

    def ask(self) -> Sequence[Proposal]:
        self.next += 1
        return [Proposal(candidate, "evaluate") for candidate in self.candidates[self.next - 1 : self.next]]

    def recorded(self, trials: Sequence[Trial]) -> None:
        pass

    def tell(self, trial: Trial) -> None:
        self.told.append(trial.number)

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any], trials: Sequence[Trial]) -> None:
        self.next = state["next"]


class Score:
    """Does what a candidate says besides scoring it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self, job: Job) -> Mapping[str, float]:
        do = job.candidate.get("do", "")
        if do == "nan":
            return {"mAP": float("nan"), "rank1": 1.0}
        if do == "facts":
            return {"mAP": 0.0, "threads": torch.get_num_threads(), "pid": os.getpid(), "random": torch.rand(()).item()}
        fail(do)
        die(do, Path(job.candidate.get("file", "")))
        time.sleep(60 if do == "sleep" else self.seconds)
        return {"mAP": 1 - abs(job.candidate.get("x", 0.0) - 0.5), "seed": job.seed}


def fail(do: str) -> None:
    """Raises what a bad candidate raises."""
    if do == "raise":
        raise ValueError("no such loss\nin two lines")
    if do == "memory":
        raise MemoryError
    if do == "allocate":
        torch.empty(10**15)


def die(do: str, file: Path) -> None:
    """Ends its process, or hangs with a child."""
    if do == "exit":
        os._exit(3)
    if do == "kill" or (do == "die once" and not file.exists()):
        if do == "die once":
            file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "child":
        pid = os.fork()
        if pid:
            file.write_text(str(pid))
        time.sleep(60)


class ScoreFactory:
    """Makes a `Score`; or breaks, in the way that is asked for."""

    def __init__(self, seconds: float = 0.0, *, broken: str = "") -> None:
        self.seconds = seconds
        self.broken = broken

    def __call__(self) -> Score:
        if self.broken == "raise":
            raise FileNotFoundError("no data at /nowhere")
        if self.broken == "exit":
            os._exit(5)
        return Score(self.seconds)


def main() -> None:
    """A search to be killed: FILE, seconds of an evaluation, evaluations, backend."""
    from fastreid_ext.search.backends import build_backend

    path, seconds, evaluations, backend = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    store = TrialStore.open(path) if path.exists() else TrialStore.create(path)
    workers = build_backend(backend, ScoreFactory(seconds), workers=2)
    with store, workers:
        search = Search(store, Climber(7), workers, metric="mAP", seed=3, max_evaluations=evaluations)
        try:
            search.run()
        except SearchStopped:
            sys.exit(130)


if __name__ == "__main__":
    main()
