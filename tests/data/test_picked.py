"""The compiled pass against a loop over single pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastreid_ext.data.transforms.kernels import CONSTANT, EDGE, REFLECT, SYMMETRIC
from fastreid_ext.data.transforms.picked import Picked

MEAN, FACTOR = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([0.0171, 0.0175, 0.0174])


def pictures(count: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def beyond(place: int, length: int, mode: int) -> int | None:
    """The pixel of a line at a place, found by walking there."""
    if mode == CONSTANT:
        return place if 0 <= place < length else None
    line = list(range(length))
    if mode == EDGE:
        return min(max(place, 0), length - 1)
    turned = line[-2:0:-1] if mode == REFLECT else line[::-1]
    return (line + turned)[place % (len(line) + len(turned))]


def slowly(images: Tensor, changes: dict[str, Any], *, floats: bool) -> Tensor:
    """Pixel by pixel."""
    count, _, height, width = images.shape
    out = torch.empty(images.shape, dtype=torch.float32 if floats else torch.uint8)
    for place in range(count):
        down, right = changes["shifts"][place]
        top, left, rows, columns = changes["boxes"][place]
        for row in range(height):
            for column in range(width):
                there = width - 1 - column if changes["flips"][place] else column
                at = beyond(row + down, height, changes["mode"]), beyond(there + right, width, changes["mode"])
                for channel in range(3):
                    value = 0.0 if None in at else float(images[place, channel, at[0], at[1]])
                    if floats:
                        value = float((torch.tensor(value) - MEAN[channel]) * FACTOR[channel])
                    if top <= row < top + rows and left <= column < left + columns:
                        value = float(changes["colours"][place, channel])
                    out[place, channel, row, column] = value
    return out


def random_changes(
    rng: np.random.Generator, count: int, size: tuple[int, int], mode: int, reach: int
) -> dict[str, Any]:
    corners = np.stack([rng.integers(0, length, count) for length in size], axis=1)
    shapes = np.stack([rng.integers(0, length - corners[:, i] + 1) for i, length in enumerate(size)], axis=1)
    return {
        "shifts": rng.integers(-reach, reach + 1, (count, 2)),
        "flips": rng.random(count) < 0.5,
        "mode": mode,
        "boxes": np.concatenate([corners, shapes], axis=1),
        "colours": rng.integers(0, 256, (count, 3)).astype(np.float32),
    }


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("mode", "size", "reach"),
    [
        (CONSTANT, (9, 7), 3),
        (CONSTANT, (4, 3), 9),
        (CONSTANT, (1, 1), 1),
        (EDGE, (5, 8), 12),
        (REFLECT, (6, 5), 4),
        (SYMMETRIC, (6, 5), 5),
    ],
)
def test_equals_a_loop_over_pixels(
    mode: int, size: tuple[int, int], reach: int, layout: torch.memory_format, floats: bool
) -> None:
    images = pictures(12, size)
    before = images.clone()
    changes = random_changes(np.random.default_rng(1), 12, size, mode, reach)
    out = torch.full(images.shape, 77, dtype=torch.float32 if floats else torch.uint8).contiguous(memory_format=layout)
    scales = {"mean": MEAN, "factor": FACTOR} if floats else {}
    assert Picked(images).place(out, **changes, **scales) is out
    assert torch.equal(out, slowly(images, changes, floats=floats))
    assert torch.equal(images, before)


def test_rows_of_a_store_and_images_that_were_replaced() -> None:
    store, first, second = pictures(6, (4, 3)), pictures(2, (4, 3), 1), pictures(2, (4, 3), 2)
    batch = Picked(store, np.array([5, 0, 5, 3, 1]))
    changed = batch.replaced(np.array([1, 3]), first).replaced(np.array([0, 3]), second)
    expected = torch.stack([second[0], first[0], store[5], second[1], store[1]])
    out = torch.empty(5, 3, 4, 3, dtype=torch.uint8)
    assert torch.equal(changed.place(out), expected)
    assert torch.equal(changed.take(np.array([0, 1, 2, 3, 4])), expected)
    assert torch.equal(changed.take(np.array([4, 2])), expected[[4, 2]])
    # The batch before is as it was.
    assert torch.equal(batch.place(out), store[[5, 0, 5, 3, 1]])


def test_all_images_may_change_their_size() -> None:
    batch = Picked(pictures(6, (4, 3)), np.array([5, 0])).replaced(np.arange(2), pictures(2, (7, 6)))
    assert (len(batch), batch.size) == (2, (7, 6))
    assert torch.equal(batch.place(torch.empty(2, 3, 7, 6, dtype=torch.uint8)), pictures(2, (7, 6)))


def test_no_images() -> None:
    batch = Picked(pictures(0, (4, 3)))
    assert len(batch) == 0
    assert batch.place(torch.empty(0, 3, 4, 3)).shape == (0, 3, 4, 3)
    assert batch.take(np.arange(0)).shape == (0, 3, 4, 3)


def test_images_that_do_not_lie_in_a_row() -> None:
    images = pictures(3, (4, 6)).transpose(2, 3)
    assert torch.equal(Picked(images).place(torch.empty(3, 3, 6, 4, dtype=torch.uint8)), images)


def test_boxes_end_with_the_window() -> None:
    images = pictures(1, (4, 4))
    memory = torch.full((3, 3, 4, 4), 7, dtype=torch.uint8)
    boxes, colours = np.array([[2, -1, 9, 3]]), np.array([[200.0, 201.0, 202.0]])
    Picked(images).place(memory[1:2], boxes=boxes, colours=colours)
    expected = images[0].clone()
    expected[:, 2:, :2] = torch.tensor([200, 201, 202], dtype=torch.uint8).view(3, 1, 1)
    assert torch.equal(memory[1], expected)
    assert (memory[[0, 2]] == 7).all()


@pytest.mark.parametrize("rows", [[0, 3], [-1, 0]])
def test_rows_that_are_not_there(rows: list[int]) -> None:
    with pytest.raises(IndexError, match="of a store of 3"):
        Picked(pictures(3, (4, 4)), np.array(rows)).place(torch.empty(2, 3, 4, 4))
