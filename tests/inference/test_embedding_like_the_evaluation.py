"""What the Predictor makes of images is what the evaluation makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import save_checkpoint, small_config, small_model

from fastreid_ext.config import CfgNode
from fastreid_ext.data.datasets import ReIDDataset, build_dataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.evaluation.evaluator import evaluate
from fastreid_ext.evaluation.extraction import extract
from fastreid_ext.inference import CheckpointEmbedder, Predictor, features_of

CROP = {"INPUT.SIZE_TEST": [40, 24], "INPUT.CROP.ENABLED": True, "INPUT.CROP.SIZE": [32, 16]}
POOL = {"TEST.MIXED_POOL.ENABLED": True, "TEST.MIXED_POOL.ALPHA": 0.25}
FLIP = {"TEST.FLIP.ENABLED": True}
BETA = {"TEST.METRIC": "euclidean", "TEST.BETA_NORM.ENABLED": True}


@pytest.fixture
def dataset(images: list[Path], tmp_path: Path) -> ReIDDataset:
    """Query and gallery of the images, in an order of its own."""
    rows = [f"{path},{n % 3},{n % 2},{'query' if n < 3 else 'gallery'}" for n, path in enumerate(reversed(images))]
    (tmp_path / "list.csv").write_text("\n".join(["path,pid,camid,split", *rows]))
    return build_dataset(f"ImageList:{tmp_path / 'list.csv'}")


@pytest.mark.parametrize(
    "options",
    [
        {},
        FLIP,
        CROP,
        POOL,
        {**FLIP, **CROP, **POOL, **BETA},
        {**FLIP, "MODEL.CHANNELS_LAST": True, "MODEL.PIXEL_STD": [1.0, 2.0, 3.0]},
        {**FLIP, "MODEL.BACKBONE.NAME": "build_repvgg_backbone", "MODEL.BACKBONE.DEPTH": "A0"},
    ],
    ids=["plain", "flip", "crop", "mixed pool", "all of them", "channels last", "repvgg"],
)
def test_features_are_the_evaluators(options: Mapping[str, Any], dataset: ReIDDataset, tmp_path: Path) -> None:
    cfg = small_config(dict(options))
    model = small_model(cfg)
    expected, _ = extract(cfg, model, dataset, stores=ImageStores(device="cpu", threads=1, progress=False))
    predictor = Predictor(save_checkpoint(tmp_path / "model.pth", cfg, model), batch_size=3, threads=2)
    found = features_of(predictor, dataset)
    assert found.paths == expected.paths
    # Untrained networks make features of any scale.
    scale = expected.values.abs().amax()
    assert expected.values.std(0).amax() > 0.01 * scale
    torch.testing.assert_close(found.values / scale, expected.values / scale, atol=1e-5, rtol=0)
    assert torch.equal(found.trials[0][1], expected.trials[0][1])


@pytest.mark.parametrize("options", [{}, BETA, {"TEST.METRIC": "euclidean"}], ids=["cosine", "beta", "euclidean"])
def test_similarities_rank_as_the_evaluation_does(options: Mapping[str, Any], dataset: ReIDDataset) -> None:
    cfg: CfgNode = small_config(dict(options))
    model = small_model(cfg)
    results = evaluate(cfg, model, [dataset], stores=ImageStores(device="cpu", threads=1, progress=False))
    predictor = Predictor(CheckpointEmbedder(cfg, model))
    similarities = predictor.similarity(
        [sample.path for sample in dataset.query], [sample.path for sample in dataset.gallery]
    )
    hits = 0
    for row, query in zip(similarities, dataset.query, strict=True):
        counted = [
            (-value, sample.pid == query.pid)
            for value, sample in zip(row.tolist(), dataset.gallery, strict=True)
            if (sample.pid, sample.camid) != (query.pid, query.camid)
        ]
        hits += min(counted)[1]
    figures = results[dataset.spec]
    assert figures["queries"] == len(dataset.query)
    assert figures["Rank-1"] == pytest.approx(100 * hits / len(dataset.query))
