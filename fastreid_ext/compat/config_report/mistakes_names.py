"""Names and keys that mean nothing."""

from __future__ import annotations

from collections.abc import Iterator

from fastreid_ext.compat.config_report.facts import LOSSES, NAMES, PROJECT_KEYS
from fastreid_ext.compat.config_report.finding import Finding, did_you_mean
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.compat.config_report.rules import mistake
from fastreid_ext.data.datasets import DATASETS
from fastreid_ext.modeling.losses import LOSSES as OUR_LOSSES
from fastreid_ext.registry import Registry, close_matches

__all__: list[str] = []


@mistake
def unknown_keys(old: OldConfig) -> Iterator[Finding]:
    """FastReID refuses a config with a key that it does not know."""
    known = [key for key, _ in old.cfg.leaves()]
    for key in old.unknown:
        project = next((name for prefix, name in PROJECT_KEYS.items() if f"{key}.".startswith(prefix)), "")
        if project:
            yield Finding(key, f"Is a key of FastReID's project {project}, whose parts are not here: it is left out.")
            continue
        if any(leaf.startswith(f"{key}.") for leaf in known):
            yield Finding(key, "Is a section of the config, not a value: FastReID refuses it.")
            continue
        matches = close_matches(key, known)
        yield Finding(key, f"Is no key: FastReID refuses the config.{did_you_mean(matches)}")


@mistake
def values_of_another_type(old: OldConfig) -> Iterator[Finding]:
    """FastReID refuses a value whose type is not the default's."""
    for key, refused in old.refused.items():
        why = refused.why
        yield Finding(key, f"{why[0].upper()}{why[1:]}. FastReID refuses it, too.")


@mistake
def keys_given_twice(old: OldConfig) -> Iterator[Finding]:
    """YAML takes the last of two equal keys and says nothing."""
    for twice in old.duplicates:
        lost = "all that the first section says is lost" if twice.section else "the first value is lost"
        lines = " and ".join(map(str, twice.lines))
        yield Finding(twice.key, f"Stands twice in {twice.source}, in lines {lines}: {lost}.")


@mistake
def unknown_names(old: OldConfig) -> Iterator[Finding]:
    """Names that FastReID looks up and does not find."""
    for key, names in NAMES.items():
        value = old.value(key)
        if value not in names:
            matches = close_matches(value, names)
            yield Finding(key, f"FastReID itself has no {value!r}.{did_you_mean(matches)} It has {', '.join(names)}.")


@mistake
def unknown_losses(old: OldConfig) -> Iterator[Finding]:
    """FastReID passes over names of losses that it does not know."""
    key, names = "MODEL.LOSSES.NAME", list(old.cfg.MODEL.LOSSES.NAME)
    for name in names:
        if name in old.computed_losses:
            continue
        if name in LOSSES:
            yield Finding(key, f"FastReID's MGN passes over {name} without a word; here MGN takes any loss.")
        elif name in OUR_LOSSES:
            yield Finding(key, f"FastReID passes over {name} without a word; here it works: add it to train with it.")
        else:
            matches = close_matches(name, [*LOSSES, *OUR_LOSSES.names()])
            yield Finding(
                key, f"FastReID passes over {name!r} without a word; here it is an error.{did_you_mean(matches)}"
            )
    if not old.computed_losses:
        yield Finding(key, "Leaves no loss that FastReID computes: there is nothing to train with.")


@mistake
def unknown_data_sets(old: OldConfig) -> Iterator[Finding]:
    """Data sets that FastReID cannot have found without code of its user's."""
    for key, specs in (("DATASETS.NAMES", old.cfg.DATASETS.NAMES), ("DATASETS.TESTS", old.cfg.DATASETS.TESTS)):
        for spec in specs:
            name = spec.partition(":")[0]
            if name not in DATASETS:
                yield Finding(key, f"No data set {name!r} is registered here.{_like(name, DATASETS)}")


@mistake
def names_without_a_comma(old: OldConfig) -> Iterator[Finding]:
    """`("Market1501")` is a string, not a tuple."""
    for key in ("MODEL.LOSSES.NAME", "DATASETS.NAMES", "DATASETS.TESTS"):
        given = old.given.get(key)
        if given is not None and isinstance(given.value, str) and "," not in given.value:
            name = given.value.strip("()'\" ")
            yield Finding(key, f'Is a string, which FastReID refuses: write ("{name}",).')


def _like(name: str, registry: Registry) -> str:
    matches = close_matches(name, registry.names())
    return did_you_mean(matches) or f" Known: {', '.join(registry.names())}."
