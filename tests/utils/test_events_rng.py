"""Event storage and random states."""

import random

import numpy as np
import pytest
import torch

from fastreid_ext.utils.events import EventStorage, get_event_storage
from fastreid_ext.utils.rng import get_rng_state, seed_everything, set_rng_state


def test_storage_is_scoped() -> None:
    with pytest.raises(RuntimeError, match="no training is running"):
        get_event_storage()
    with EventStorage() as outer, EventStorage() as inner:
        assert get_event_storage() is inner is not outer
    with pytest.raises(RuntimeError):
        get_event_storage()


def test_smoothed_is_a_median_of_new_values_only() -> None:
    storage = EventStorage(window=3)
    for value in (100.0, 1.0, 2.0, 3.0):
        storage.put_scalar("loss", value)
    storage.put_scalar("lr", 0.5, smooth=False)
    assert storage.smoothed() == {"loss": 2.0, "lr": 0.5}
    seen = storage.version
    assert storage.smoothed(since=seen) == {}
    storage.put_scalar("lr", 0.25, smooth=False)
    assert storage.smoothed(since=seen) == {"lr": 0.25}
    assert storage.latest("loss") == 3.0 and storage.latest("nothing") is None


def test_rng_state_survives_a_checkpoint(tmp_path: object) -> None:
    seed_everything(3)
    # An odd number of normal draws leaves one cached, which is part of the state.
    random.gauss(0, 1), np.random.standard_normal(), torch.randn(1)
    path = f"{tmp_path}/rng.pth"
    torch.save(get_rng_state(), path)

    def draw() -> list[float]:
        return [random.gauss(0, 1), float(np.random.standard_normal()), float(torch.randn(1)), random.random()]

    expected = draw()
    set_rng_state(torch.load(path, weights_only=True))
    assert draw() == expected
