"""Where the winner came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from fastreid_ext.projects.gms.report.formulas import candidate_of, inline_formulas
from fastreid_ext.projects.gms.report.markup import element, escaped, score_text, shortened
from fastreid_ext.search.protocols import Trial

__all__ = ["family_tree"]

_GENERATIONS = 8
_OPEN_GENERATIONS = 3
_MOST_LOSSES = 40


def family_tree(winner: Trial, trials: Mapping[int, Trial]) -> str:
    """The winner, its parents, their parents, as a nested list.

    An ancestor of several lines is shown in the latest generation that it belongs to, and named in the others. A
    duplicate stands for the trial that it equals. Eight generations and forty losses are shown, three generations
    of them at once.

    Args:
        winner: the root.
        trials: all of them, by number; a parent that is missing is named as such.
    """
    return element("ul", _Tree(winner, trials).branch(winner.number, 0), class_="tree")


class _Tree:
    """Which loss is shown below which: `home` holds, for each ancestor, the child that reaches the winner soonest."""

    def __init__(self, winner: Trial, trials: Mapping[int, Trial]) -> None:
        self.trials = {**trials, winner.number: winner}
        self.home: dict[int, int | None] = {winner.number: None}
        queue = deque([(winner.number, 1)])
        while queue:
            child, generation = queue.popleft()
            for number in self._parents(child):
                if number in self.home or number not in self.trials:
                    continue
                if generation < _GENERATIONS and len(self.home) < _MOST_LOSSES:
                    self.home[number] = child
                    queue.append((number, generation + 1))

    def branch(self, number: int, generation: int) -> str:
        """The loss and its ancestors; recursion ends with the generations."""
        below = "".join(
            self.branch(parent, generation + 1) if self.home.get(parent) == number else self._note(parent)
            for parent in self._parents(number)
        )
        if below:
            below = element("ul", below)
        if below and generation + 1 == _OPEN_GENERATIONS:
            below = element("details", element("summary", "earlier generations"), below)
        return element("li", _node(self.trials[number]), below)

    def _parents(self, number: int) -> list[int]:
        return list(dict.fromkeys(map(self._original, self.trials[number].proposal.parents)))

    def _original(self, number: int) -> int:
        """The trial that a duplicate equals."""
        seen: set[int] = set()
        while number in self.trials and number not in seen:
            seen.add(number)
            twin = self.trials[number].proposal.duplicate_of
            if self.trials[number].state != "duplicate" or twin not in self.trials:
                break
            number = twin
        return number

    def _note(self, number: int) -> str:
        if number not in self.trials:
            text = f"#{number} is not in the file"
        elif number in self.home:
            text = f"#{number}, shown at another place"
        else:
            text = f"#{number} \N{HORIZONTAL ELLIPSIS}"
        return element("li", element("div", escaped(text), class_="note node"))


def _node(trial: Trial) -> str:
    candidate = candidate_of(trial)
    formula = inline_formulas(candidate) if candidate else "unreadable loss"
    origin = trial.proposal.mutation or ("" if trial.proposal.parents else "from the initial population")
    head = (
        element("b", f"#{trial.number}"),
        element("span", escaped(score_text(trial.score)), class_="score"),
        element("span", escaped(shortened(origin))),
    )
    return element("div", element("div", *head, class_="node-head"), formula, class_="node")
