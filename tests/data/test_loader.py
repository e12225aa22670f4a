"""From samples to batches, from every store, and with images that cannot be read."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.image_store import ImageStore, ImageStores
from fastreid_ext.data.loader import Batch, LoadingError, TestLoader, TrainLoader
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import BatchStream, NaiveIdentitySampler, TrainingSampler
from fastreid_ext.data.transforms import BatchTransform, Normalize, Params, Pipeline, Size

MakeSamples = Callable[..., list[Sample]]
KINDS = ["device", "mmap", "stream"]


class Noise(BatchTransform):
    """Random values in the last row, which show what has been drawn."""

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        return {"noise": rng.integers(256, size=(count, 3, size[1]), dtype=np.uint8)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        noisy = images.clone()
        noisy[:, :, -1] = torch.from_numpy(params["noise"])
        return noisy


class Broken(Noise):
    def apply(self, images: Tensor, params: Params) -> Tensor:
        raise ZeroDivisionError("a bug")


def pipeline(transform: BatchTransform | None = None) -> Pipeline:
    """Leaves values as they are."""
    return Pipeline(Normalize([0.0] * 3, [1.0] * 3), after=[transform] if transform else [])


def store_of(samples: Sequence[Sample], kind: str = "device") -> ImageStore:
    folder = str(Path(samples[0].path).parent / "cache") if samples else ""
    return ImageStores(kind, folder=folder, threads=2, progress=False).get(
        [sample.path for sample in samples], (4, 2), label="tests"
    )


@pytest.fixture
def make_samples(tmp_path: Path) -> MakeSamples:
    """Images of 4x2 pixels that show their index; identity after identity, cameras in turn."""

    def make(identities: int = 4, images: int = 4) -> list[Sample]:
        samples = []
        for index in range(identities * images):
            path = tmp_path / f"{index}.png"
            Image.new("RGB", (2, 4), (index, 0, 0)).save(path)
            samples.append(Sample(str(path), index // images, index % 2))
        return samples

    return make


def ruin(samples: Sequence[Sample], *indices: int) -> None:
    for index in indices:
        Path(samples[index].path).write_bytes(b"")


def shown(batch: Batch) -> list[int]:
    """The indices that the images of a batch show."""
    return [int(value) for value in batch["images"][:, 0, 0, 0].tolist()]


def stream_of(samples: Sequence[Sample], *, instances: int = 2, **options: int) -> BatchStream:
    sampler = NaiveIdentitySampler(
        [sample.pid for sample in samples],
        [sample.camid for sample in samples],
        batch_size=8,
        num_instances=instances,
    )
    return BatchStream(sampler, **options)


def train_loader(samples: Sequence[Sample], kind: str = "device", **options: int) -> TrainLoader:
    return TrainLoader(samples, store_of(samples, kind), pipeline(Noise()), stream_of(samples, **options))


def first_batches(loader: TrainLoader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def assert_same(batches: Sequence[Batch], others: Sequence[Batch]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key, value in batch.items():
            same = torch.equal(value, other[key]) if isinstance(value, Tensor) else str(value) == str(other[key])
            assert same, key


def test_training_batch(make_samples: MakeSamples) -> None:
    samples = make_samples()
    loader = train_loader(samples)
    expected = next(iter(loader.stream)).indices
    batch = next(iter(loader))
    assert batch["images"].shape == (8, 3, 4, 2)
    assert batch["images"].dtype == torch.float32
    assert batch["normalized"] is True
    assert batch["targets"].dtype == batch["camids"].dtype == batch["indices"].dtype == torch.long
    assert shown(batch) == batch["indices"].tolist() == expected
    assert batch["targets"].tolist() == [samples[index].pid for index in expected]
    assert batch["camids"].tolist() == [samples[index].camid for index in expected]
    assert batch["img_paths"] == [samples[index].path for index in expected]
    assert batch["unreadable"] == []


@pytest.mark.parametrize("ruined", [(), (1, 4, 5)])
def test_the_store_changes_nothing(make_samples: MakeSamples, ruined: tuple[int, ...]) -> None:
    samples = make_samples()
    ruin(samples, *ruined)
    loaders = [train_loader(samples, kind) for kind in KINDS]
    first, *others = (first_batches(loader, 5) for loader in loaders)
    for other in others:
        assert_same(first, other)
    assert all(loader.unreadable == loaders[0].unreadable for loader in loaders)
    assert len(loaders[0].unreadable) == len(ruined)


def test_augmentation_differs_between_images_and_epochs(make_samples: MakeSamples) -> None:
    batches = first_batches(train_loader(make_samples()), 6)
    noise = [image[:, -1].numpy().tobytes() for batch in batches for image in batch["images"]]
    assert len(set(noise)) == len(noise)


@pytest.mark.parametrize("kind", KINDS)
def test_loading_leaves_the_global_generators_alone(make_samples: MakeSamples, kind: str) -> None:
    loader = train_loader(make_samples(), kind)
    before = torch.get_rng_state(), str(np.random.get_state())  # the generator in question
    first_batches(loader, 2)
    list(TestLoader(loader.samples, loader.store, pipeline()))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_resumed_loader_goes_on_with_the_same_images(make_samples: MakeSamples, accumulation_steps: int) -> None:
    samples = make_samples()
    loader, resumed = (train_loader(samples, accumulation_steps=accumulation_steps) for _ in range(2))
    resumed.stream.load_state_dict(loader.stream.state_dict() | {"iteration": 3})
    whole = first_batches(loader, 6 * accumulation_steps)
    assert_same(first_batches(resumed, 3 * accumulation_steps), whole[3 * accumulation_steps :])


@pytest.mark.parametrize("options", [{"world_size": 2}, {"accumulation_steps": 2}])
def test_parts_of_a_batch_are_those_of_the_whole(make_samples: MakeSamples, options: dict[str, int]) -> None:
    samples = make_samples()
    whole = first_batches(train_loader(samples), 3)
    if "world_size" in options:
        ranks = [first_batches(train_loader(samples, rank=rank, **options), 3) for rank in range(2)]
        pieces = [[rank[step] for rank in ranks] for step in range(3)]
    else:
        passes = first_batches(train_loader(samples, **options), 6)
        pieces = [passes[2 * step : 2 * step + 2] for step in range(3)]
    for batch, parts in zip(whole, pieces, strict=True):
        assert torch.equal(torch.cat([part["images"] for part in parts]), batch["images"])


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_image_is_replaced_by_one_of_its_identity(
    make_samples: MakeSamples, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    samples = make_samples()
    # The last of its identity: the next image in the list is of another one.
    last = 7
    ruin(samples, last)
    loader = train_loader(samples, kind)
    replaced = 0
    for part, batch in zip(itertools.islice(loader.stream, 8), loader, strict=False):
        wanted = part.indices
        replaced += wanted.count(last)
        assert shown(batch) == batch["indices"].tolist()
        assert last not in shown(batch)
        assert batch["targets"].tolist() == [samples[index].pid for index in wanted]
        assert all(index == got for index, got in zip(wanted, shown(batch), strict=True) if index != last)
        assert batch["img_paths"] == [samples[index].path for index in shown(batch)]
        assert [error.path for error in batch["unreadable"]] == [samples[last].path] * wanted.count(last)
    assert replaced >= 4
    assert loader.unreadable == {samples[last].path: "the file is empty"}
    assert caplog.text.count(f"without an image: {samples[last].path}") == 1


@pytest.mark.parametrize("kind", ["device", "stream"])
def test_identity_without_a_readable_image_is_replaced_by_another(make_samples: MakeSamples, kind: str) -> None:
    samples = make_samples()
    ruin(samples, 4, 5, 6, 7)
    loader = train_loader(samples, kind)
    for batch in first_batches(loader, 4):
        assert len(batch["images"]) == 8
        assert batch["targets"].tolist() == [index // 4 for index in shown(batch)]
        assert 1 not in batch["targets"]
    assert set(loader.unreadable) == {samples[index].path for index in (4, 5, 6, 7)}


@pytest.mark.parametrize("kind", ["device", "stream"])
def test_nothing_readable_is_an_error(make_samples: MakeSamples, kind: str) -> None:
    samples = make_samples()
    ruin(samples, *range(len(samples)))
    loader = train_loader(samples, kind)
    with pytest.raises(UnreadableImage, match=r"\d+\.png: the file is empty") as error:
        first_batches(loader, 1)
    assert error.value.path in {sample.path for sample in samples}
    assert set(loader.unreadable) == {sample.path for sample in samples}


@pytest.mark.parametrize("kind", ["device", "mmap"])
def test_a_filled_store_names_all_that_is_missing_at_once(make_samples: MakeSamples, kind: str) -> None:
    samples = make_samples()
    ruin(samples, 3, 11)
    assert set(train_loader(samples, kind).unreadable) == {samples[3].path, samples[11].path}


def test_many_unreadable_images_do_not_flood_the_log(
    make_samples: MakeSamples, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    samples = make_samples(10, 4)
    ruin(samples, *range(30))
    assert len(train_loader(samples).unreadable) == 30
    lines = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 21
    assert "more images, which the end of the training lists" in lines[-1]


def test_error_in_a_transform_names_the_images(make_samples: MakeSamples) -> None:
    samples = make_samples()
    loader = TrainLoader(samples, store_of(samples), pipeline(Broken()), stream_of(samples))
    wanted = next(iter(loader.stream)).indices
    with pytest.raises(LoadingError, match="of iteration 0 could not be made: ZeroDivisionError: a bug") as error:
        next(iter(loader))
    assert all(samples[index].path in str(error.value) for index in wanted)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_error_in_the_store_names_the_images_of_an_evaluation(
    make_samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = make_samples()
    loader = TestLoader(samples, store_of(samples), pipeline(), batch_size=4)

    def fail(indices: Sequence[int]) -> list[Tensor]:
        raise OSError("stale file handle")

    monkeypatch.setattr(loader.store, "fetch", fail)
    with pytest.raises(LoadingError, match="OSError: stale file handle") as error:
        list(loader)
    assert samples[0].path in str(error.value)
    assert samples[4].path not in str(error.value)


def test_an_abandoned_loader_leaves_no_thread(make_samples: MakeSamples) -> None:
    loader = train_loader(make_samples())
    for _ in range(3):
        first_batches(loader, 1)
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_kept_batches_are_not_overwritten(make_samples: MakeSamples) -> None:
    samples = make_samples()
    kept = first_batches(train_loader(samples), 30)
    anew = train_loader(samples)
    for batch, again in zip(kept, anew, strict=False):
        assert torch.equal(batch["images"], again["images"])


@pytest.mark.parametrize("kind", KINDS)
def test_test_loader_keeps_the_order(make_samples: MakeSamples, kind: str) -> None:
    samples = make_samples(3, 3)
    loader = TestLoader(samples, store_of(samples, kind), pipeline(), batch_size=4)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [len(batch["images"]) for batch in batches] == [4, 4, 1]
    assert [index for batch in batches for index in batch["indices"].tolist()] == list(range(9))
    assert [index for batch in batches for index in shown(batch)] == list(range(9))
    assert [path for batch in batches for path in batch["img_paths"]] == [sample.path for sample in samples]
    assert torch.cat([batch["targets"] for batch in batches]).tolist() == [sample.pid for sample in samples]
    assert torch.cat([batch["camids"] for batch in batches]).tolist() == [sample.camid for sample in samples]
    assert_same(list(loader), batches)


@pytest.mark.parametrize("kind", KINDS)
def test_test_loader_leaves_unreadable_images_out(make_samples: MakeSamples, kind: str) -> None:
    samples = make_samples(2, 4)
    ruin(samples, 1, 4, 5, 6, 7)
    first, second = TestLoader(samples, store_of(samples, kind), pipeline(), batch_size=4)
    assert first["indices"].tolist() == shown(first) == [0, 2, 3]
    assert first["targets"].tolist() == [0, 0, 0]
    assert first["img_paths"] == [samples[index].path for index in (0, 2, 3)]
    assert [(error.path, error.reason) for error in first["unreadable"]] == [(samples[1].path, "the file is empty")]
    assert second["indices"].tolist() == second["img_paths"] == []
    assert len(second["images"]) == 0
    assert [error.path for error in second["unreadable"]] == [sample.path for sample in samples[4:]]


def test_test_loader_without_samples() -> None:
    loader = TestLoader([], store_of([]), pipeline())
    assert (len(loader), list(loader)) == (0, [])


def test_training_sampler_in_a_loader(make_samples: MakeSamples) -> None:
    samples = make_samples()
    sampler = TrainingSampler([s.pid for s in samples], [s.camid for s in samples], batch_size=8)
    batches = first_batches(TrainLoader(samples, store_of(samples), pipeline(), BatchStream(sampler)), 2)
    assert sorted(index for batch in batches for index in shown(batch)) == list(range(16))
