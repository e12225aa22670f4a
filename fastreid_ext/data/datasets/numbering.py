"""Numbers for identities and cameras that files and lists name by texts."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid_ext.data.protocol import JUNK_PID

__all__ = ["numbered"]


def numbered(texts: Sequence[str], lowest: int) -> list[int]:
    """The texts as whole numbers if all of them are, from `lowest` on; else their places in sorted order.

    With `lowest` at -1, "-1" is junk among texts, too.
    """
    try:
        numbers = [int(text) for text in texts]
    except ValueError:
        numbers = []
    if numbers and min(numbers) >= lowest:
        return numbers
    junk = {str(JUNK_PID)} if lowest == JUNK_PID else set()
    places = {text: place for place, text in enumerate(sorted(set(texts) - junk))} | dict.fromkeys(junk, JUNK_PID)
    return [places[text] for text in texts]
