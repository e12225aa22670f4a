"""Evaluation rules: what they say of themselves, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from fastreid_ext.data.protocol import Protocol


def test_describe() -> None:
    assert Protocol(trials=10, camera_rule=False).describe() == {
        "camera_rule": False,
        "query_is_gallery": False,
        "single_gallery_shot": 0,
        "trials": 10,
        "seed": 0,
    }


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"single_gallery_shot": -1}, {"query_is_gallery": True, "trials": 2}])
def test_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Protocol(**wrong)
