"""Batches in slices give what whole batches give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.modeling import slices
from fastreid_ext.modeling.slices import InSlices


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.seen: list[int] = []

    def forward(self, batch: Tensor | dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
        images = batch if isinstance(batch, Tensor) else batch["images"]
        self.seen.append(len(images))
        rows = self.scale * images.flatten(1)
        return rows if isinstance(batch, Tensor) else {"rows": rows, "twice": 2 * rows}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "PIXELS_PER_THREAD", 3 * 8)


def test_tensors_and_dicts() -> None:
    model, images = Model().eval(), torch.randn(7, 3, 4, 2)
    sliced = InSlices(model)
    assert torch.equal(sliced(images), 2 * images.flatten(1))
    assert model.seen == [3, 3, 1]
    output = sliced({"images": images, "targets": torch.arange(7)})
    assert torch.equal(output["rows"], 2 * images.flatten(1)) and torch.equal(output["twice"], 4 * images.flatten(1))


def test_large_images_go_one_by_one_and_small_batches_whole() -> None:
    model = Model().eval()
    InSlices(model)(torch.randn(2, 3, 9, 9))
    InSlices(model)(torch.randn(3, 3, 4, 2))
    InSlices(model)(torch.randn(0, 3, 4, 2))
    assert model.seen == [1, 1, 3, 0]


def test_training_sees_the_whole_batch() -> None:
    model = Model()
    InSlices(model)(torch.randn(7, 3, 4, 2))
    assert model.seen == [7]
