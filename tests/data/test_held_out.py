"""Training identities held out: who is where, by which rules, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from fastreid_ext.config import ConfigError, load_config
from fastreid_ext.data.build import build_train_data
from fastreid_ext.data.datasets import DatasetError, ReIDDataset, build_dataset, hold_out
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample


def of_samples(train: list[tuple[int, int]], protocol: Protocol | None = None) -> ReIDDataset:
    """A set with these (pid, camid) to train on, and one test image."""
    dataset = ReIDDataset()
    dataset.spec = "Made"
    dataset.protocol = protocol or Protocol()
    dataset.train = [Sample(f"{number}.jpg", *ids) for number, ids in enumerate(train)]
    dataset.query = dataset.gallery = [Sample("test.jpg", 99, 0)]
    return dataset


def pids(samples: list[Sample]) -> set[int]:
    return {sample.pid for sample in samples}


@pytest.mark.parametrize(("share", "count"), [(0.2, 2), (0.3, 3), (0.5, 5), (0.01, 2), (0.99, 8)])
def test_identities_are_shared_out(share: float, count: int) -> None:
    whole = of_samples([(pid, camera) for pid in range(10) for camera in (0, 0, 1)])
    held = hold_out(whole, share=share)
    assert len(pids(held.query)) == count
    assert not pids(held.train) & pids(held.query + held.gallery)
    assert sorted(held.train + held.query + held.gallery) == sorted(whole.train)


def test_the_draw_follows_from_the_seed() -> None:
    whole = of_samples([(pid, camera) for pid in range(20) for camera in (0, 1)])
    draws = [pids(hold_out(whole, share=0.3, seed=seed).gallery) for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len({frozenset(draw) for draw in draws}) == 3


def test_a_camera_with_several_images_of_an_identity_gives_a_query() -> None:
    # Two cameras with more than one image, one with one; an identity of single images; an identity of one image.
    cameras = {1: (0, 0, 1, 1, 2), 2: (0, 1, 2), 3: (4,)}
    cameras |= dict.fromkeys((7, 8, 9), (0, 0, 1))
    whole = of_samples([(pid, camera) for pid, seen in cameras.items() for camera in seen])
    found: dict[int, list[int]] = {}
    for seed in range(20):
        held = hold_out(whole, share=0.5, seed=seed)
        assert not set(held.query) & set(held.gallery)
        for pid in pids(held.query + held.gallery):
            found[pid] = [sample.camid for sample in held.query if sample.pid == pid]
    assert found == {1: [0, 1], 2: [0], 3: [], 7: [0], 8: [0], 9: [0]}


def test_a_set_that_is_its_own_gallery_stays_one() -> None:
    protocol = Protocol(camera_rule=False, query_is_gallery=True)
    held = hold_out(of_samples([(pid, 0) for pid in range(6) for _ in range(3)], protocol), share=0.5)
    assert held.query == held.gallery
    assert len(held.query) == 9
    assert held.protocol == protocol


def test_trials_and_single_shots_are_left_out() -> None:
    whole = of_samples([(pid, 0) for pid in range(6) for _ in range(3)], Protocol(camera_rule=False, trials=10, seed=4))
    held = hold_out(whole, share=0.5)
    assert held.protocol == Protocol(camera_rule=False)
    assert len(held.query) == 3
    whole.protocol = Protocol(camera_rule=False, single_gallery_shot=10)
    assert hold_out(whole).protocol == Protocol(camera_rule=False)


def test_the_camera_rule_is_off_where_it_leaves_no_match(caplog: pytest.LogCaptureFixture) -> None:
    whole = of_samples([(pid, pid % 2) for pid in range(6) for _ in range(3)])
    with caplog.at_level(logging.INFO, logger="fastreid_ext"):
        logging.getLogger("fastreid_ext").propagate = True
        held = hold_out(whole, share=0.5)
    assert not held.protocol.camera_rule
    assert "no camera rule" in caplog.text
    whole.train += [Sample("other.jpg", pid, 5) for pid in range(6)]
    assert hold_out(whole, share=0.5).protocol.camera_rule


def test_junk_and_distractors_are_never_held_out() -> None:
    whole = of_samples([(pid, camera) for pid in (-1, 0, 1, 2, 3, 4) for camera in (0, 0, 1)])
    whole.distractor_pids = frozenset({0})  # type: ignore[misc]  # of this instance alone
    for seed in range(5):
        held = hold_out(whole, share=0.5, seed=seed)
        assert pids(held.gallery) <= {1, 2, 3, 4}
        assert {-1, 0} <= pids(held.train)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, "half", True, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(DatasetError, match="between 0 and 1"):
        hold_out(of_samples([(pid, 0) for pid in range(6) for _ in range(2)]), share=share)


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(DatasetError, match="3 training identities: too few"):
        hold_out(of_samples([(pid, 0) for pid in range(3) for _ in range(2)]))
    with pytest.raises(DatasetError, match="none of the identities held out has two images"):
        hold_out(of_samples([(pid, 0) for pid in range(6)]))
    with pytest.raises(DatasetError, match="seed"):
        hold_out(of_samples([(pid, 0) for pid in range(6)]), seed="x")  # type: ignore[arg-type]


def test_from_a_config(market_folder: Callable[..., Path]) -> None:
    folder = market_folder(train_ids=8, cameras=2, shots=2)
    held = build_dataset(f"HeldOut:MarketLayout:{folder},share=0.25,seed=3")
    assert (len(held.train), len(held.query), len(held.gallery)) == (24, 4, 4)
    assert all("bounding_box_train" in sample.path for sample in held.query + held.gallery)
    assert held.protocol.camera_rule
    same = hold_out(build_dataset(f"MarketLayout:{folder}"), share=0.25, seed=3)
    assert (same.train, same.query, same.gallery) == (held.train, held.query, held.gallery)
    # The name that `hold_out` gives builds the same set.
    assert build_dataset(same.spec).query == held.query
    cfg = load_config("", ["DATASETS.NAMES", (held.spec,)])
    assert build_train_data(cfg).num_classes == 6
    with pytest.raises(ConfigError, match="COMBINEALL would train on the identities that HeldOut leaves out"):
        build_train_data(load_config("", ["DATASETS.NAMES", (held.spec,), "DATASETS.COMBINEALL", True]))


def test_options_of_the_other_set(market_folder: Callable[..., Path]) -> None:
    folder = market_folder(cameras=2, shots=2)
    spec = f"MarketLayout:{folder},first_camera=1,camera_rule=False"
    held = hold_out(build_dataset(spec), share=0.5, seed=1)
    assert not held.protocol.camera_rule
    again = build_dataset(held.spec)
    assert again.spec == f"HeldOut:MarketLayout:{folder};first_camera=1;camera_rule=False,share=0.5,seed=1"
    assert (again.query, again.protocol) == (held.query, held.protocol)
    with pytest.raises(ConfigError, match="HeldOut has no option 'first_camera'"):
        build_dataset(f"HeldOut:{spec}")
    with pytest.raises(ConfigError, match="needs dataset"):
        build_dataset("HeldOut:share=0.5")
