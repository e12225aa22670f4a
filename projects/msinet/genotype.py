"""Architectures as letters."""

from __future__ import annotations

from fastreid_ext.projects.msinet.interactions import INTERACTIONS
from fastreid_ext.registry import close_matches

__all__ = ["GENOTYPE_LENGTH", "PRESETS", "parse_genotype"]

GENOTYPE_LENGTH = 12
"""Two interactions in each of six cells."""

PRESETS = {
    "MSINet": "GGEGAGGNGAEA",
    "MSINet-VR": "GGEAGAGAAAEA",
    "MSINet-S": "EAGAAAGAEAEA",
}
"""The searched architectures of Table 7: on MSMT17, on VeRi-776, and on MSMT17 with the softmax loss."""


def parse_genotype(genotype: str) -> str:
    """The twelve letters of a preset's name or of letters given, checked.

    Raises:
        ValueError: another length, or a letter that no interaction has.
    """
    if not isinstance(genotype, str):
        raise ValueError(f"a genotype (MODEL.MSINET.GENOTYPE) is a string of letters, not {genotype!r}")
    if genotype in PRESETS:
        return PRESETS[genotype]
    given = f"genotype {genotype!r} (MODEL.MSINET.GENOTYPE)"
    known = ", ".join(f"{entry.name} ({entry.description.rstrip('.')})" for entry in INTERACTIONS)
    for position, letter in enumerate(genotype):
        if letter not in INTERACTIONS:
            matches = close_matches(genotype, PRESETS)
            hint = f" Did you mean the preset {matches[0]}?" if matches else ""
            if all(capital in INTERACTIONS for capital in genotype.upper()):
                hint = f" Letters are capitals: {genotype.upper()}"
            raise ValueError(f"{given} has {letter!r} at position {position + 1}; letters: {known}.{hint}")
    if len(genotype) != GENOTYPE_LENGTH:
        raise ValueError(
            f"{given} has {len(genotype)} letters; it needs {GENOTYPE_LENGTH}, two a cell. "
            f"Presets: {', '.join(PRESETS)}"
        )
    return genotype
