from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.parser import parse
from fastreid_ext.projects.gms.report import write_report
from fastreid_ext.projects.gms.report.axes import Axes, spread, ticks
from fastreid_ext.projects.gms.report.curves import curve
from fastreid_ext.projects.gms.report.family import family_tree
from fastreid_ext.projects.gms.report.summary import summarise
from fastreid_ext.search.protocols import Proposal, Trial

LOSS = Candidate(parse("de(1 - x)*(x - 0.7)"), parse("relu(gd(x - sig(0.25)))"), 7.5)
HANDCRAFTED = {
    "softmax": Candidate(parse("x"), parse("x"), 5.0),
    "CosFace": Candidate(parse("x - 0.35"), parse("x"), 5.5),
}
CLOSED = {"meta"}


def trial(number: int, state: str = "evaluated", score: float | None = None, **fields: Any) -> Trial:
    own = {key: fields.pop(key) for key in ("parents", "mutation", "duplicate_of") if key in fields}
    proposal = Proposal(fields.pop("candidate", LOSS.to_json()), "evaluate", **own)
    return Trial(number, state, proposal, score, created=100.0 + number, **fields)


class Page(HTMLParser):
    """Refuses tags that do not match; keeps the text, the tags and the attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in CLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def count(self, tag: str, class_: str = "") -> int:
        return sum(name == tag and class_ in ["", *(attrs.get("class") or "").split(" ")] for name, attrs in self.tags)


def report(path: Path, trials: list[Trial], **options: Any) -> Page:
    write_report(path, trials, **{"title": "A search", "settings": {"seed": 1}, **options})
    return Page(path.read_text(encoding="utf-8"))


def full(path: Path) -> Page:
    trials = [
        trial(number, score=0.3 + number / 100, parents=(number - 1,) if number > 1 else ()) for number in range(1, 15)
    ]
    trials.append(trial(15, "rejected", reason="values: t is not finite"))
    trials.append(trial(16, "failed", reason="out of memory"))
    trials.append(trial(17, "duplicate", 0.4, duplicate_of=3))
    return report(
        path,
        trials,
        metric="mAP",
        handcrafted=HANDCRAFTED,
        baselines={"softmax": 0.31, "CosFace": 0.312, "unknown": math.nan},
        predictor=[{"method": "ridge", "tau": 0.123456}, {"method": "random", "tau": 0, "note": "a & b"}],
        predictions=[(0.3, 0.31), (0.4, 0.35), (math.nan, 0.1)],
    )


def test_page_is_well_formed_and_self_contained(tmp_path: Path) -> None:
    page = full(tmp_path / "report.html")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert source.startswith("<!DOCTYPE html>")
    assert "http:" not in source and "https:" not in source and "@import" not in source
    for _, attrs in page.tags:
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for link in re.findall(r"url\(#([^)]*)\)", source) + re.findall(r'href="#([^"]*)"', source):
        assert link in ids
    assert not re.search(r' (?:d|cx|cy|x1|y1)="[^"]*(?:nan|inf)', source)


def test_page_says_what_happened(tmp_path: Path) -> None:
    page = full(tmp_path / "report.html")
    assert page.count("li", "card") == 10
    assert "de(1 - x) * (x - 0.7)" in page.text
    assert r"\mathrm{de}\left(1 - x\right) \left(x - 0.7\right)" in page.text
    for part in (
        "0.4400",
        "best mAP, trial 14",
        "rejected: values",
        "out of memory",
        "0.1235",
        "a & b",
        "CosFace 0.3120",
    ):
        assert part in page.text
    # Fourteen evaluations and two finite predictions.
    assert page.count("circle") == 16


def test_best_come_first_and_earlier_of_equals(tmp_path: Path) -> None:
    scores = {1: 0.5, 2: 0.7, 3: 0.7, 4: 0.6, 5: math.nan}
    summary = summarise([trial(number, score=score) for number, score in scores.items()])
    assert [winner.number for winner in summary.best(3)] == [2, 3, 4]
    assert len(summary.evaluated) == 4


def test_text_of_others_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=\"x\" onerror='y'>"
    trials = [
        trial(1, score=0.5, mutation=evil, scores={evil: 1.0}),
        trial(2, "rejected", reason=f"{evil}: bad"),
        trial(3, "failed", reason=evil),
    ]
    page = report(
        tmp_path / "report.html",
        trials,
        title=evil,
        metric=evil,
        settings={evil: evil},
        handcrafted={evil: LOSS},
        baselines={evil: 0.4},
        predictor=[{evil: evil}],
    )
    assert page.count("script") == 1
    assert page.count("img") == 0
    assert evil in page.text


@pytest.mark.parametrize(
    "trials", [[], [trial(1, "waiting")], [trial(1, "rejected", reason="values: no")], [trial(1, "failed")]]
)
def test_search_without_an_evaluated_trial(tmp_path: Path, trials: list[Trial]) -> None:
    page = report(tmp_path / "report.html", trials, settings={}, handcrafted=HANDCRAFTED, baselines={"softmax": 0.1})
    assert "No loss has been evaluated yet." in page.text


def test_one_evaluated_trial(tmp_path: Path) -> None:
    page = report(tmp_path / "report.html", [trial(1, score=0.5)])
    assert page.count("li", "card") == 1 and page.count("circle") == 1


def test_unreadable_loss_is_no_error(tmp_path: Path) -> None:
    page = report(tmp_path / "report.html", [trial(1, score=0.5, candidate={"target": 1})])
    assert "no readable loss" in page.text


def test_rejected_trials_do_not_fill_the_page(tmp_path: Path) -> None:
    few = [trial(1, score=0.5)]
    many = few + [trial(number, "rejected", reason=f"values: at {number}") for number in range(2, 5002)]
    report(tmp_path / "few.html", few)
    page = report(tmp_path / "many.html", many)
    assert "5\N{NARROW NO-BREAK SPACE}000" in page.text
    assert (tmp_path / "many.html").stat().st_size < (tmp_path / "few.html").stat().st_size + 5000


def test_failing_report_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report(path, [trial(1, score=0.5)])
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_report(path, [None], title="", settings={})  # type: ignore[list-item]
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def numbers(tree: str) -> list[int]:
    """Trials that a tree shows as losses, in the order of the page."""
    return [int(number) for number in re.findall(r"<b>#(\d+)</b>", tree)]


def family(trials: list[Trial]) -> str:
    tree = family_tree(trials[-1], {trial.number: trial for trial in trials})
    Page(tree)
    return tree


def test_family_shows_shared_ancestors_once_and_missing_ones() -> None:
    trials = [
        trial(1, score=0.1),
        trial(2, score=0.2, parents=(1, 77), mutation="cross t"),
        trial(3, score=0.3, parents=(1, 2)),
        trial(4, score=0.4, parents=(2, 3)),
    ]
    tree = family(trials)
    assert numbers(tree) == [4, 2, 1, 3]
    assert "#77 is not in the file" in tree
    assert tree.count("#1, shown at another place") == 1 and tree.count("#2, shown at another place") == 1
    assert "cross t" in tree


def test_family_resolves_duplicates() -> None:
    trials = [
        trial(1, score=0.1),
        trial(2, "duplicate", 0.1, duplicate_of=1, parents=(9,)),
        trial(3, "duplicate", 0.1, duplicate_of=2),
        trial(4, "duplicate", 0.1, duplicate_of=88),
        trial(5, score=0.2, parents=(3, 1, 4)),
    ]
    assert numbers(family(trials)) == [5, 1, 4]


def test_family_ends_in_loops_depth_and_number() -> None:
    assert numbers(family([trial(1, parents=(2,)), trial(2, parents=(1, 2), score=0.1)])) == [2, 1]
    twins = [trial(1, "duplicate", duplicate_of=2), trial(2, "duplicate", duplicate_of=1), trial(3, parents=(1,))]
    assert len(numbers(family(twins))) == 2
    deep = [trial(number, parents=(number - 1,) if number > 1 else ()) for number in range(1, 51)]
    assert numbers(family(deep)) == list(range(50, 42, -1))
    assert "#42 \N{HORIZONTAL ELLIPSIS}" in family(deep)
    broad = [trial(number) for number in range(1, 101)]
    broad.append(trial(101, parents=tuple(range(1, 101))))
    assert len(numbers(family(broad))) == 40


def test_both_parents_come_before_older_generations() -> None:
    trials = [trial(number, parents=(2 * number, 2 * number + 1)) for number in range(127, 0, -1)]
    assert set(numbers(family(trials))) == set(range(1, 41))


def test_curves_are_the_function() -> None:
    xs, ys = curve(LOSS.target)
    assert xs[0] == -1 and xs[-1] == 1 and len(xs) == len(ys)
    for x, y in zip(xs, ys, strict=True):
        assert y == pytest.approx((1 - x) * (x - 0.7), abs=1e-12)


def test_path_is_where_the_points_are() -> None:
    axes = Axes(10, 20, 100, 50, (0.0, 2.0), (0.0, 1.0))
    assert 'd="M10.0 70.0L60.0 45.0M110.0 20.0"' in axes.path([0, 1, 1.5, 2], [0, 0.5, math.nan, 1])
    assert axes.y(1e30) == 20 - 4 * 50


def test_ticks_are_round_and_inside() -> None:
    assert ticks(-1.0, 1.0) == [-1, -0.5, 0, 0.5, 1]
    assert ticks(0.31, 0.72) == [0.4, 0.5, 0.6, 0.7]
    assert ticks(0, 181, 8) == [0, 50, 100, 150]
    assert spread([0.5, math.inf]) == (0.45, 0.55)
    assert spread([]) == pytest.approx((-0.06, 1.06))
