"""Random galleries of one image per identity."""

from __future__ import annotations

import torch

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.trials import vehicleid_trial
from fastreid_ext.evaluation import rank_metrics
from fastreid_ext.evaluation.trials import SingleGalleryShot


def test_single_gallery_shot_draws_every_image_alike() -> None:
    shot = SingleGalleryShot(torch.tensor([5, 5, 8, 5, -1]), 3000, seed=0)
    assert all(len(drawn) == 2 and drawn[1] == 2 for drawn in shot.shots)
    counts = torch.stack(shot.shots)[:, 0].bincount(minlength=5)
    assert counts[[2, 4]].tolist() == [0, 0]
    assert all(900 < count < 1100 for count in counts[[0, 1, 3]].tolist())


def test_vehicleid_trial_is_ranked() -> None:
    features, pids = torch.eye(6)[[0, 0, 1, 1, 2]], torch.tensor([0, 0, 1, 1, 2])
    query, gallery = vehicleid_trial(pids, seed=0)
    result = rank_metrics(
        features[query], features[gallery], pids[query], pids[gallery], protocol=Protocol(camera_rule=False)
    )
    assert (result.mAP, result.num_valid) == (1, 2)
