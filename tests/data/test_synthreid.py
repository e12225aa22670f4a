"""SynthReID: its lists, its options, and that it is hard but not hopeless."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_synth import KINDS, TINY

from fastreid_ext.config import ConfigError
from fastreid_ext.data.datasets.market_layout import MARKET_FOLDERS, market_samples
from fastreid_ext.data.datasets.registry import build_dataset
from fastreid_ext.data.datasets.synthreid import SynthReID
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.synth import dataset as synth
from fastreid_ext.data.synth.dataset import SynthSpec, draw_dataset
from fastreid_ext.data.synth.render import Kind
from fastreid_ext.evaluation import rank_metrics


def test_what_is_drawn_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SynthReID(tmp_path, **TINY)
    monkeypatch.setattr(synth, "render", lambda *args: pytest.fail("drawn again"))
    again = SynthReID(tmp_path, **TINY | {"variation": 1})
    assert (again.train, again.query, again.gallery) == (first.train, first.query, first.gallery)


@pytest.mark.parametrize("kind", KINDS)
def test_the_lists_hold_what_was_asked_for(tmp_path: Path, kind: Kind) -> None:
    dataset = SynthReID(tmp_path, kind=kind, **TINY | {"images_per_camera": 3})
    assert dataset.counts() == {
        "train_images": 27,
        "train_ids": 3,
        "query_images": 6,
        "query_ids": 2,
        "gallery_images": 12 + 4,
        "gallery_ids": 2,
    }
    assert {sample.pid for sample in dataset.train} == {1, 2, 3}
    assert Counter((sample.pid, sample.camid) for sample in dataset.query) == {
        (p, c): 1 for p in (4, 5) for c in range(3)
    }
    others = [sample.camid for sample in dataset.gallery if sample.pid == 0]
    assert sorted(others) == [0, 0, 1, 2]
    assert dataset.distractor_pids == {0}
    with Image.open(dataset.train[0].path) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (16, 32))


def test_every_query_has_a_match_in_another_camera(tmp_path: Path) -> None:
    dataset = SynthReID(tmp_path, **TINY | {"num_cameras": 2})
    for query in dataset.query:
        assert any(image.pid == query.pid and image.camid != query.camid for image in dataset.gallery)


def test_each_kind_has_its_own_default_size(tmp_path: Path) -> None:
    options = {"num_train_ids": 1, "num_test_ids": 1, "num_cameras": 2, "images_per_camera": 2, "num_distractors": 0}
    for kind, size in (("person", (64, 128)), ("vehicle", (96, 96))):
        text = ",".join(f"{name}={value}" for name, value in options.items())
        dataset = build_dataset(f"SynthReID:kind={kind},{text}", str(tmp_path))
        assert Path(dataset.train[0].path).parents[1].name.startswith(f"{kind}-")
        with Image.open(dataset.train[0].path) as image:
            assert image.size == size


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"kind": "cat"}, "SynthReID draws person or vehicle, not 'cat'"),
        ({"num_train_ids": 0}, "num_train_ids is 0; it must be a whole number of at least 1"),
        ({"num_test_ids": -1}, "num_test_ids is -1; it must be a whole number of at least 1"),
        ({"num_cameras": 1}, "num_cameras is 1; it must be a whole number of at least 2"),
        ({"images_per_camera": 1}, "images_per_camera is 1; it must be a whole number of at least 2"),
        ({"num_distractors": -1}, "num_distractors is -1; it must be a whole number of at least 0"),
        ({"num_cameras": 2.5}, "num_cameras is 2.5; it must be a whole number of at least 2"),
        ({"num_train_ids": "many"}, "num_train_ids is 'many'; it must be a whole number of at least 1"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        ({"size": 64}, r"size is 64; it must be a height and a width of at least 16 pixels: \(128, 64\)"),
        ({"size": (64,)}, "size is .* must be a height and a width"),
        ({"size": (64, 15)}, "size is .* must be a height and a width of at least 16 pixels"),
        ({"variation": -0.1}, "variation is -0.1; it must be a number from 0 to 3"),
        ({"variation": 3.1}, "variation is 3.1; it must be a number from 0 to 3"),
        ({"variation": float("nan")}, "variation is nan; it must be a number from 0 to 3"),
        ({"variation": "much"}, "variation is 'much'; it must be a number from 0 to 3"),
    ],
)
def test_a_wrong_option_is_refused_with_a_sentence(tmp_path: Path, option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SynthReID(tmp_path, **TINY | option)
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_option_is_answered_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data set SynthReID has no option 'knd'\. Did you mean kind\?"):
        build_dataset("SynthReID:knd=vehicle", str(tmp_path))


def raw_pixels(samples: list[Sample]) -> torch.Tensor:
    rows = []
    for sample in samples:
        with Image.open(sample.path) as image:
            rows.append(np.asarray(image.resize((16, 32)), np.float32).reshape(-1) / 255.0)
    return torch.from_numpy(np.stack(rows))


def less_camera_mean(features: torch.Tensor, samples: list[Sample]) -> torch.Tensor:
    camids = torch.tensor([sample.camid for sample in samples])
    one_hot = torch.nn.functional.one_hot(camids).float()
    means = (one_hot.T @ features) / one_hot.sum(0)[:, None]
    return features - means[camids]


def mean_ap(folder: Path, *, centred: bool) -> list[float]:
    """mAP of raw pixels in percent, by both metrics."""
    query, gallery = (market_samples(folder / name) for name in MARKET_FOLDERS[1:])
    both = query + gallery
    features = raw_pixels(both)
    if centred:
        features = less_camera_mean(features, both)
    pids, camids = [sample.pid for sample in both], [sample.camid for sample in both]
    n = len(query)
    return [
        100.0 * rank_metrics(features[:n], features[n:], pids[:n], pids[n:], camids[:n], camids[n:], metric=metric).mAP
        for metric in ("cosine", "euclidean")
    ]


def score_spec(kind: Kind, variation: float) -> SynthSpec:
    counts = {"num_train_ids": 1, "num_test_ids": 40, "num_cameras": 4, "images_per_camera": 2, "num_distractors": 20}
    return SynthSpec(kind=kind, size=(64, 32) if kind == "person" else (48, 48), variation=variation, **counts)


@pytest.mark.parametrize("kind", KINDS)
def test_raw_pixels_do_not_tell_who_it_is(tmp_path: Path, kind: Kind) -> None:
    scores = mean_ap(draw_dataset(tmp_path / "set", score_spec(kind, 1.0)), centred=False)
    assert max(scores) < 15.0


# Raw pixels score 100 (people) and 54 (vehicles, which are seen from several heights); by chance it would be 5.
@pytest.mark.parametrize(("kind", "bound"), [("person", 95.0), ("vehicle", 40.0)])
def test_without_variation_they_do_once_the_cameras_places_are_taken_off(
    tmp_path: Path, kind: Kind, bound: float
) -> None:
    scores = mean_ap(draw_dataset(tmp_path / "set", score_spec(kind, 0.0)), centred=True)
    assert min(scores) > bound
