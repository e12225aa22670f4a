"""A synthetic data set that is drawn in no time."""

from __future__ import annotations

from typing import Any

from fastreid_ext.data.synth.render import Kind

TINY: dict[str, Any] = {
    "num_train_ids": 3,
    "num_test_ids": 2,
    "num_cameras": 3,
    "images_per_camera": 2,
    "num_distractors": 4,
    "size": (32, 16),
}
KINDS: tuple[Kind, ...] = ("person", "vehicle")
