"""What is said about a config, laid out for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from fastreid_ext.compat.config_report.differences_evaluation import EVERYWHERE
from fastreid_ext.compat.config_report.explain import Explanation
from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.yaml_text import yaml_value

__all__ = ["report", "reports"]

WIDTH = 100


def reports(explanations: Sequence[Explanation]) -> str:
    """The texts of several configs; what holds for all of them is said once."""
    if len(explanations) == 1:
        return report(explanations[0])
    texts = [report(explanation, whole=False) for explanation in explanations]
    return "\n\n\n".join([*texts, "\n".join(_everywhere())])


def report(explanation: Explanation, *, whole: bool = True) -> str:
    """A text of lines of at most 100 columns, paths and values aside.

    Args:
        explanation: of a config.
        whole: whether to say what holds for every config, too.
    """
    old = explanation.old
    bases = [file.name for file in old.files[:-1]]
    title = [f"{old.path}", *([f"(on {', '.join(bases)})"] if bases else [])]
    if len("  ".join(title)) <= WIDTH:
        title = ["  ".join(title)]
    lines = [*title, "=" * min(WIDTH, max(map(len, title)))]
    lines += _topics(explanation)
    for heading, findings in (
        ("Likely mistakes", explanation.mistakes),
        ("Not as in FastReID", explanation.differences),
        ("Older spellings", explanation.spellings),
    ):
        if findings or heading != "Older spellings":
            lines += ["", f"{heading}: {len(findings) or 'none'}", *_findings(explanation, findings)]
    if explanation.not_here:
        lines += ["", "Does not run here", *_paragraphs(explanation.not_here)]
    if whole:
        lines += ["", *_everywhere()]
    lines += ["", "The same for this toolbox", "", *explanation.modern.rstrip("\n").split("\n")]
    return "\n".join(lines)


def _everywhere() -> list[str]:
    return ["Not as in FastReID, whatever the config", *_paragraphs(EVERYWHERE)]


def _topics(explanation: Explanation) -> Iterator[str]:
    widest = max(map(len, explanation.words))
    for topic, text in explanation.words.items():
        yield from _wrapped(text, f"{topic:<{widest}}  ", " " * (widest + 2))


def _findings(explanation: Explanation, findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"  {_heading(explanation, finding)}"
        yield from _wrapped(finding.text, "      ", "      ")
        if finding.as_fastreid:
            keys = ", ".join(f"{key} {yaml_value(value)}" for key, value in finding.as_fastreid.items())
            yield from _wrapped(f"As FastReID: {keys}", "      ", "      ")


def _heading(explanation: Explanation, finding: Finding) -> str:
    old = explanation.old
    if finding.key in old.refused:
        given = old.refused[finding.key].given
        place = f"  (in {given.source})" if given.source != old.path.name else ""
        return f"{finding.key} {yaml_value(given.value)}{place}"
    if finding.key not in dict(old.cfg.leaves()):
        unknown = old.unknown.get(finding.key)
        return finding.key + (f" {unknown.value}" if unknown is not None else "")
    source = old.source(finding.key)
    default = "" if finding.key in old.given else "  (FastReID's default)"
    return f"{finding.key} {yaml_value(old.value(finding.key))}" + (f"  (in {source})" if source else default)


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        for number, line in enumerate(text.split("\n")):
            yield from _wrapped(line, "    " if number else "  ", "    ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
