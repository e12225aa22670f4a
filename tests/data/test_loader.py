"""From samples to batches, with one process and with several, and with images that cannot be read."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.data.build import build_test_loader, build_train_data, build_train_loader
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.loader import Batch, TestLoader, TrainLoader
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import BatchStream, NaiveIdentitySampler, TrainingSampler
from fastreid_ext.registry import RegistryError

MakeSamples = Callable[..., list[Sample]]


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def with_noise(image: Image.Image) -> Tensor:
    """The image with random values of torch's generator in its last row, which show what has been drawn."""
    tensor = as_tensor(image)
    tensor[:, -1] = torch.randint(256, tensor[:, -1].shape)
    return tensor


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
    indices: list[int] = batch["images"][:, 0, 0, 0].tolist()
    return indices


def train_loader(samples: Sequence[Sample], *, num_workers: int = 0, instances: int = 2, world: int = 1) -> TrainLoader:
    sampler = NaiveIdentitySampler(
        [sample.pid for sample in samples],
        [sample.camid for sample in samples],
        batch_size=8,
        num_instances=instances,
    )
    return TrainLoader(samples, with_noise, BatchStream(sampler, world_size=world), num_workers=num_workers)


def first_batches(loader: TrainLoader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def assert_same(batches: Sequence[Batch], others: Sequence[Batch]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key, value in batch.items():
            same = torch.equal(value, other[key]) if isinstance(value, Tensor) else value == other[key]
            assert same, key


def test_training_batch(make_samples: MakeSamples) -> None:
    samples = make_samples()
    loader = train_loader(samples)
    keys = next(iter(loader.stream))
    batch = next(iter(loader))
    assert batch["images"].shape == (8, 3, 4, 2)
    assert batch["images"].dtype == torch.uint8
    assert batch["targets"].dtype == batch["camids"].dtype == torch.long
    expected = [index for index, _ in keys]
    assert shown(batch) == batch["indices"].tolist() == expected
    assert batch["targets"].tolist() == [samples[index].pid for index in expected]
    assert batch["camids"].tolist() == [samples[index].camid for index in expected]
    assert batch["img_paths"] == [samples[index].path for index in expected]
    assert batch["unreadable"] == []


@pytest.mark.parametrize("ruined", [(), (1, 4, 5)])
def test_workers_change_nothing(make_samples: MakeSamples, ruined: tuple[int, ...]) -> None:
    samples = make_samples()
    ruin(samples, *ruined)
    alone, helped = train_loader(samples), train_loader(samples, num_workers=2)
    batches = first_batches(alone, 5)
    others = first_batches(helped, 5)
    for batch in (*batches, *others):
        batch["unreadable"] = [str(error) for error in batch["unreadable"]]
    assert_same(batches, others)
    assert alone.unreadable == helped.unreadable
    assert len(alone.unreadable) == len(ruined)


def test_augmentation_differs_between_images_and_epochs(make_samples: MakeSamples) -> None:
    batches = first_batches(train_loader(make_samples()), 6)
    noise = [image[:, -1].numpy().tobytes() for batch in batches for image in batch["images"]]
    assert len(set(noise)) == len(noise)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loading_leaves_the_global_generator_alone(make_samples: MakeSamples, num_workers: int) -> None:
    loader = train_loader(make_samples(), num_workers=num_workers)
    before = torch.get_rng_state()
    first_batches(loader, 2)
    list(TestLoader(loader.samples, as_tensor, num_workers=num_workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_leaves_the_generators_of_gpus_alone(
    make_samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(seed: int) -> None:
        raise AssertionError("dropout on the GPU would follow from the last image that was read")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    first_batches(train_loader(make_samples()), 1)


def test_resumed_loader_goes_on_with_the_same_images(make_samples: MakeSamples) -> None:
    samples = make_samples()
    loader, resumed = train_loader(samples), train_loader(samples)
    resumed.stream.load_state_dict(loader.stream.state_dict() | {"iteration": 3})
    assert_same(first_batches(resumed, 3), first_batches(loader, 6)[3:])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_image_is_replaced_by_one_of_its_identity(
    make_samples: MakeSamples, num_workers: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    samples = make_samples()
    # The last of its identity: the next image in the list is of another one.
    last = 7
    ruin(samples, last)
    loader = train_loader(samples, num_workers=num_workers)
    replaced = 0
    for keys, batch in zip(itertools.islice(loader.stream, 8), loader, strict=False):
        wanted = [index for index, _ in keys]
        replaced += wanted.count(last)
        assert shown(batch) == batch["indices"].tolist()
        assert last not in shown(batch)
        assert batch["targets"].tolist() == [samples[index].pid for index in wanted]
        assert all(index == got for index, got in zip(wanted, shown(batch), strict=True) if index != last)
        assert batch["img_paths"] == [samples[index].path for index in shown(batch)]
        assert [error.path for error in batch["unreadable"]] == [samples[last].path] * wanted.count(last)
    assert replaced >= 4
    assert loader.unreadable == {samples[last].path: "the file is empty"}
    assert caplog.text.count(samples[last].path) == 1


def test_identity_without_a_readable_image_is_replaced_by_another(make_samples: MakeSamples) -> None:
    samples = make_samples()
    ruin(samples, 4, 5, 6, 7)
    loader = train_loader(samples)
    for batch in first_batches(loader, 4):
        assert len(batch["images"]) == 8
        assert batch["targets"].tolist() == [index // 4 for index in shown(batch)]
        assert 1 not in batch["targets"]
    assert set(loader.unreadable) == {samples[index].path for index in (4, 5, 6, 7)}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_nothing_readable_is_an_error(make_samples: MakeSamples, num_workers: int) -> None:
    samples = make_samples()
    ruin(samples, *range(len(samples)))
    loader = train_loader(samples, num_workers=num_workers)
    with pytest.raises(UnreadableImage, match=r"\d+\.png: the file is empty") as error:
        first_batches(loader, 1)
    assert error.value.path in {sample.path for sample in samples}
    assert set(loader.unreadable) == {sample.path for sample in samples}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_error_in_a_transform_is_not_swallowed(make_samples: MakeSamples, num_workers: int) -> None:
    samples = make_samples()
    loader = train_loader(samples, num_workers=num_workers)
    loader = TrainLoader(samples, _broken, loader.stream, num_workers=num_workers)
    with pytest.raises(ZeroDivisionError):
        next(iter(loader))


def _broken(image: Image.Image) -> Tensor:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_loader_keeps_the_order(make_samples: MakeSamples, num_workers: int) -> None:
    samples = make_samples(3, 3)
    loader = TestLoader(samples, as_tensor, batch_size=4, num_workers=num_workers)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [len(batch["images"]) for batch in batches] == [4, 4, 1]
    assert [index for batch in batches for index in batch["indices"].tolist()] == list(range(9))
    assert [index for batch in batches for index in shown(batch)] == list(range(9))
    assert [path for batch in batches for path in batch["img_paths"]] == [sample.path for sample in samples]
    assert torch.cat([batch["targets"] for batch in batches]).tolist() == [sample.pid for sample in samples]
    assert torch.cat([batch["camids"] for batch in batches]).tolist() == [sample.camid for sample in samples]
    assert {batch["images"].dtype for batch in batches} == {torch.uint8}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_loader_leaves_unreadable_images_out(make_samples: MakeSamples, num_workers: int) -> None:
    samples = make_samples(2, 4)
    ruin(samples, 1, 4, 5, 6, 7)
    first, second = TestLoader(samples, as_tensor, batch_size=4, num_workers=num_workers)
    assert first["indices"].tolist() == shown(first) == [0, 2, 3]
    assert first["targets"].tolist() == [0, 0, 0]
    assert first["img_paths"] == [samples[index].path for index in (0, 2, 3)]
    assert [(error.path, error.reason) for error in first["unreadable"]] == [(samples[1].path, "the file is empty")]
    assert second["indices"].tolist() == second["img_paths"] == []
    assert (len(second["images"]), second["images"].dtype) == (0, torch.uint8)
    assert [error.path for error in second["unreadable"]] == [sample.path for sample in samples[4:]]


def test_test_loader_without_samples() -> None:
    loader = TestLoader([], as_tensor, num_workers=2)
    assert (len(loader), list(loader)) == (0, [])


def config(*specs: str) -> CfgNode:
    cfg = get_cfg()
    cfg.DATASETS.NAMES = tuple(specs)
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [16, 8]
    cfg.DATALOADER.NUM_WORKERS = cfg.TEST.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 8
    return cfg


def original(path: str) -> tuple[str, int, int]:
    """Data set, identity and camera that a path says."""
    name = Path(path).name
    return Path(path).parents[1].name, int(name[:4]), int(name[6])


def test_data_sets_are_joined_without_mixing_identities_or_cameras(market_folder: Callable[..., Path]) -> None:
    first, second = market_folder("one", train_ids=3), market_folder("two", train_ids=5, cameras=3)
    data = build_train_data(config(f"MarketLayout:{first}", f"MarketLayout:{second}"))
    assert (data.num_classes, data.num_cameras) == (3 + 5, 2 + 3)
    assert len(data.samples) == 3 * 2 * 3 + 5 * 3 * 3
    pids = {(original(s.path)[0], original(s.path)[1], s.pid) for s in data.samples}
    assert pids == {("one", pid, pid - 1) for pid in range(1, 4)} | {("two", pid, pid + 2) for pid in range(1, 6)}
    cameras = {(original(s.path)[0], original(s.path)[2], s.camid) for s in data.samples}
    assert cameras == {("one", 1, 0), ("one", 2, 1), ("two", 1, 2), ("two", 2, 3), ("two", 3, 4)}
    assert [len(dataset.train) for dataset in data.datasets] == [18, 45]


def test_test_images_join_without_distractors_and_junk(market_folder: Callable[..., Path]) -> None:
    root = market_folder(train_ids=3, test_ids=2)
    source = next((root / "bounding_box_test").iterdir())
    for name in ("0000_c1s1_000000_00.jpg", "-1_c1s1_000000_00.jpg"):
        (root / "bounding_box_test" / name).write_bytes(source.read_bytes())
    cfg = config(f"MarketLayout:{root}")
    assert build_train_data(cfg).num_classes == 3
    cfg.DATASETS.COMBINEALL = True
    data = build_train_data(cfg)
    assert data.num_classes == 5
    assert len(data.samples) == len({sample.path for sample in data.samples}) == 5 * 2 * 3
    assert {original(s.path)[1]: s.pid for s in data.samples} == {1: 0, 2: 1, 3: 2, 4: 3, 5: 4}


def test_unknown_data_set_names_close_matches() -> None:
    with pytest.raises(RegistryError, match=r"'Market1502'.*Did you mean Market1501"):
        build_train_data(config("Market1502"))


def test_no_training_images(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = market_folder(train_ids=1, test_ids=1)
    rows = "".join(f"{path},{path.name[:4]},{path.parent.name}\n" for path in root.glob("query/*"))
    listing = tmp_path / "tests_only.csv"
    gallery = rows.replace(",query", ",gallery")
    listing.write_text("path,pid,split\n" + rows + gallery)
    with pytest.raises(ValueError, match=f"no training images in ImageList:{listing}"):
        build_train_data(config(f"ImageList:{listing}"))


def test_loaders_from_a_config(market_folder: Callable[..., Path]) -> None:
    cfg = config(f"MarketLayout:{market_folder()}")
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.INPUT.FLIP.ENABLED, cfg.TEST.IMS_PER_BATCH = "NaiveIdentitySampler", True, 5
    data = build_train_data(cfg)
    loader, sampler = build_train_loader(cfg, data, device="cpu")
    assert type(sampler) is NaiveIdentitySampler
    batches = first_batches(loader, 4)
    for batch in batches:
        assert batch["images"].shape == (8, 3, 16, 8)
        assert batch["images"].dtype == torch.uint8
        assert batch["targets"].reshape(2, 4).unique(dim=1).shape == (2, 1)
    later, _ = build_train_loader(cfg, data, device="cpu", start_iteration=2)
    assert_same(first_batches(later, 2), batches[2:])
    tests = build_test_loader(cfg, data.datasets[0].query, device="cpu")
    assert [len(batch["images"]) for batch in tests] == [5, 3]


@pytest.mark.parametrize("total", [0, 1, 7, 8])
def test_shares_of_all_ranks_are_all_test_images(total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [Sample(f"{index}.jpg", index, 0) for index in range(total)]
    monkeypatch.setattr("fastreid_ext.data.build.get_world_size", lambda: 3)
    shares: list[Sample] = []
    for rank in range(3):
        monkeypatch.setattr("fastreid_ext.data.build.get_rank", lambda rank=rank: rank)
        shares += build_test_loader(config(), samples, device="cpu").samples
    assert shares == samples


def test_every_rank_gets_its_part_of_a_batch(
    market_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(f"MarketLayout:{market_folder()}")
    cfg.INPUT.FLIP.ENABLED = True
    data = build_train_data(cfg)
    whole = first_batches(build_train_loader(cfg, data, device="cpu")[0], 3)
    monkeypatch.setattr("fastreid_ext.data.build.get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr("fastreid_ext.data.build.get_rank", lambda rank=rank: rank)
        parts.append(first_batches(build_train_loader(cfg, data, device="cpu")[0], 3))
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([part[step]["images"] for part in parts]), batch["images"])


def test_training_sampler_in_a_loader(make_samples: MakeSamples) -> None:
    samples = make_samples()
    sampler = TrainingSampler([s.pid for s in samples], [s.camid for s in samples], batch_size=8)
    batches = first_batches(TrainLoader(samples, with_noise, BatchStream(sampler)), 2)
    assert sorted(index for batch in batches for index in shown(batch)) == list(range(16))
