"""The lists of rules.

A rule looks at a config and yields what it finds. To add one, write it into a file of rules that `explain` imports:

    @mistake
    def no_folder(old: OldConfig) -> Iterator[Finding]:
        \"\"\"There is no folder to write to.\"\"\"
        if not old.cfg.OUTPUT_DIR:
            yield Finding("OUTPUT_DIR", "Nothing would be written.")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.old_config import OldConfig

__all__ = ["DIFFERENCES", "MISTAKES", "Rule", "apply", "difference", "mistake"]

Rule = Callable[[OldConfig], Iterator[Finding]]

DIFFERENCES: list[Rule] = []
"""What is done here in another way than in FastReID."""

MISTAKES: list[Rule] = []
"""What does not do what its author seems to have meant."""


def difference(rule: Rule) -> Rule:
    """Adds a rule to `DIFFERENCES`."""
    DIFFERENCES.append(rule)
    return rule


def mistake(rule: Rule) -> Rule:
    """Adds a rule to `MISTAKES`."""
    MISTAKES.append(rule)
    return rule


def apply(rules: list[Rule], old: OldConfig) -> list[Finding]:
    """All that some rules find, in the order of the keys; what has no key comes first."""
    order = {key: place for place, (key, _) in enumerate(old.cfg.leaves())}
    found = [finding for rule in rules for finding in rule(old)]
    return sorted(found, key=lambda finding: order.get(finding.key, -1))
