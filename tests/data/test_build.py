"""From a config to data and loaders, with one process and with several."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.data.build import build_test_loader, build_train_data, build_train_loader
from fastreid_ext.data.loader import Batch, TrainLoader
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import NaiveIdentitySampler
from fastreid_ext.registry import RegistryError


def first_batches(loader: TrainLoader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def assert_same(batches: Sequence[Batch], others: Sequence[Batch]) -> None:
    for batch, other in zip(batches, others, strict=True):
        assert batch["img_paths"] == other["img_paths"]
        for key, value in batch.items():
            if isinstance(value, Tensor):
                assert torch.equal(value, other[key]), key


def config(*specs: str) -> CfgNode:
    cfg = get_cfg()
    cfg.DATASETS.NAMES = tuple(specs)
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [16, 8]
    cfg.DATALOADER.NUM_WORKERS = 1
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
        assert batch["images"].dtype == torch.float32
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
