"""VehicleID's random splits."""

from __future__ import annotations

import torch

from fastreid_ext.data.trials import first_of_each_pid, vehicleid_trial


def test_every_image_but_junk_is_in_one_part_and_each_identity_once_in_the_gallery() -> None:
    pids = torch.tensor([4, -1, 9, 4, 4, 2, 9, -1])
    drawn = set()
    for seed in range(20):
        query, gallery = vehicleid_trial(pids, seed)
        assert sorted(query.tolist() + gallery.tolist()) == [0, 2, 3, 4, 5, 6]
        assert sorted(pids[gallery].tolist()) == [2, 4, 9]
        assert query.tolist() == sorted(query.tolist())
        assert gallery.tolist() == sorted(gallery.tolist())
        again = vehicleid_trial(pids, seed)
        assert torch.equal(again[0], query)
        assert torch.equal(again[1], gallery)
        drawn.add(tuple(gallery.tolist()))
    assert len(drawn) > 1


def test_first_of_each_pid_equals_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    pids = torch.randint(-1, 6, (40,), generator=generator)
    order = torch.randperm(40, generator=generator)
    first: dict[int, int] = {}
    for index in order.tolist():
        first.setdefault(int(pids[index]), index)
    first.pop(-1, None)
    assert first_of_each_pid(order, pids).tolist() == [first[pid] for pid in sorted(first)]
