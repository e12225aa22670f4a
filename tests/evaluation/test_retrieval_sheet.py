"""Which images are nearest, and how they are drawn."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation import k_reciprocal_rerank, rank_metrics
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.nearest_images import NearestImages, choose_queries
from fastreid_ext.evaluation.rankings import Rankings
from fastreid_ext.evaluation.retrieval_sheet import QUERY, RIGHT, WRONG, SheetRow, Tile, retrieval_sheet

RERANKING = {"k1": 6, "k2": 3, "lambda_value": 0.3}


def make_set(protocol: Protocol | None = None) -> FeatureSet:
    """Twelve queries and fifty others of six identities before three cameras; a few are junk, two are the same."""
    pids = torch.arange(62) % 6
    pids[40:44] = -1
    values = torch.randn(6, 8)[pids] + torch.randn(62, 8)
    values[30] = values[36]
    split = (torch.arange(12), torch.arange(12, 62))
    if protocol and protocol.query_is_gallery:
        split = (torch.arange(62), torch.arange(62))
    return FeatureSet("set", values, pids, torch.arange(62) // 6 % 3, [split], protocol or Protocol())


def ranked_slowly(features: FeatureSet, distances: Any, query: int) -> list[int]:
    """The gallery of a query, without junk, sorted by distance and place."""
    queries, gallery = (split.tolist() for split in features.trials[0])
    image, kept = queries[query], []
    for place, other in enumerate(gallery):
        same = features.pids[other] == features.pids[image]
        junk = features.pids[other] == -1
        junk |= features.protocol.camera_rule and same and features.camids[other] == features.camids[image]
        junk |= features.protocol.query_is_gallery and other == image
        if not junk:
            kept.append((float(distances[query, place]), place, other))
    return [other for _, _, other in sorted(kept)]


@pytest.mark.parametrize(
    "protocol",
    [Protocol(), Protocol(camera_rule=False), Protocol(camera_rule=False, query_is_gallery=True)],
    ids=["cameras", "no cameras", "itself"],
)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("reranked", [False, True])
def test_the_order_is_that_of_a_slow_loop(protocol: Protocol, metric: Any, reranked: bool) -> None:
    features = make_set(protocol)
    nearest = NearestImages(features, Rankings(metric, reranking=RERANKING if reranked else None))
    query, gallery = (features.values[split] for split in features.trials[0])
    if reranked:
        galleries = None if protocol.query_is_gallery else gallery
        distances = k_reciprocal_rerank(query, galleries, metric=metric, **RERANKING)  # type: ignore[arg-type]
    elif metric == "cosine":
        unit = [values / values.norm(dim=1, keepdim=True) for values in (query, gallery)]
        distances = 1 - unit[0] @ unit[1].T
    else:
        distances = (query[:, None] - gallery).square().sum(2)
    assert nearest.ranking == ("rerank" if reranked else "")
    for number in range(len(query)):
        found = nearest.of(number, 100)
        expected = ranked_slowly(features, distances, number)
        assert found.query == features.trials[0][0][number]
        assert [features.values[i].tolist() for i in found.images] == [features.values[i].tolist() for i in expected]
        assert sorted(found.images) == sorted(expected)
        assert found.right == [bool(features.pids[i] == features.pids[found.query]) for i in found.images]
        assert found.distances == sorted(found.distances)
        assert nearest.of(number, 3).images == found.images[:3]


def test_only_drawn_queries_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    nearest = NearestImages(make_set(), Rankings())
    asked: list[int] = []
    rows = nearest._source.rows
    counted = replace(
        nearest._source, rows=lambda block, out: (asked.append(block.stop - block.start), rows(block, out))[1]
    )
    monkeypatch.setattr(nearest, "_source", counted)
    for query in choose_queries(nearest, 3):
        nearest.of(query, 4)
    assert asked == [1, 1, 1]


def test_queries_are_chosen_by_average_precision() -> None:
    features = make_set()
    nearest = NearestImages(features, Rankings())
    labels = [ids[split] for ids in (features.pids, features.camids) for split in features.trials[0]]
    query, gallery = (features.values[split] for split in features.trials[0])
    ap, pids = rank_metrics(query, gallery, *labels).ap, features.pids
    best, worst = (choose_queries(nearest, 6, order=order) for order in ("best", "worst"))  # type: ignore[arg-type]
    assert [ap[i] for i in best] == sorted((ap[i] for i in best), reverse=True)
    assert [ap[i] for i in worst] == sorted(ap[i] for i in worst)
    # One of each of the six identities.
    assert {int(pids[i]) for i in best} == set(range(6))
    for chosen, pick in ((best, max), (worst, min)):
        assert all(ap[i] == pick(ap[j] for j in range(12) if pids[j] == pids[i]) for i in chosen)


def test_queries_are_chosen_at_random() -> None:
    features = make_set()
    # No image of identity 3 is in the gallery.
    features.pids[12:][features.pids[12:] == 3] = 4
    nearest = NearestImages(features, Rankings())
    assert choose_queries(nearest, 5, seed=1) == choose_queries(nearest, 5, seed=1)
    assert len({tuple(choose_queries(nearest, 5, seed=seed)) for seed in range(5)}) > 1
    assert sorted(choose_queries(nearest, 100)) == [i for i in range(12) if i % 6 != 3]
    assert sorted(choose_queries(nearest, 100, pids=[1, 5])) == [1, 5, 7, 11]
    with pytest.raises(ValueError, match="no query shows identity 8, 9; there are queries of 6 identities"):
        choose_queries(nearest, 5, pids=[1, 8, 9])
    with pytest.raises(ValueError, match="none of these queries has a match"):
        choose_queries(nearest, 5, pids=[3])


def colours(sheet: Image.Image) -> list[tuple[int, int, int]]:
    """The frames' colours from left to right on a line through the first row of tiles."""
    line = sheet.height // 2
    pixels = [sheet.getpixel((x, line)) for x in range(sheet.width)]
    frames = [pixel for pixel in pixels if pixel in (QUERY, RIGHT, WRONG)]
    return [frames[i] for i in range(0, len(frames), 12)]  # type: ignore[misc]


def save(path: Path, size: tuple[int, int] = (40, 80), colour: str = "blue") -> str:
    Image.new("RGB", size, colour).save(path)
    return str(path)


def test_frames_tell_right_from_wrong(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    row = SheetRow(Tile(path, "pid 1"), [Tile(path, "pid 1", True), Tile(path, "pid 2", False), Tile(path, "", True)])
    sheet = retrieval_sheet([row])
    assert colours(sheet) == [QUERY, RIGHT, WRONG, RIGHT]
    blue = sum(sheet.getpixel((x, sheet.height // 2)) == (0, 0, 255) for x in range(sheet.width))
    # Of tiles as high as two widths, four beside each other, without bars.
    assert blue == 4 * round(180 * 0.5**0.5)
    assert sheet.getpixel((0, 0)) == sheet.getpixel((sheet.width - 1, sheet.height - 1)) == (255, 255, 255)
    titled = retrieval_sheet([row, row], "a title")
    assert titled.width == sheet.width and titled.height > 1.8 * sheet.height


def test_the_commonest_aspect_is_that_of_tiles(tmp_path: Path) -> None:
    narrow = [save(tmp_path / f"{i}.png", (40 + i, 80 + i)) for i in range(4)]
    wide = save(tmp_path / "wide.png", (300, 100), "red")
    tiles = [Tile(path, "", True) for path in [*narrow, wide]]
    sheet = retrieval_sheet([SheetRow(tiles[0], tiles)])
    red = [(x, y) for x in range(sheet.width) for y in range(sheet.height) if sheet.getpixel((x, y)) == (255, 0, 0)]
    columns, lines = ({place[axis] for place in red} for axis in (0, 1))
    # The whole wide image, its aspect kept.
    assert len(columns) == pytest.approx(3 * len(lines), abs=3)
    assert 120 < len(columns) < 140


def test_images_that_cannot_be_read_are_grey(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, broken = save(tmp_path / "a.png"), tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    tiles = [Tile(path, "", True), Tile(str(broken), "", False), Tile("nowhere.jpg", "", False)]
    with caplog.at_level(logging.WARNING):
        sheet = retrieval_sheet([SheetRow(Tile(path), tiles)])
    assert colours(sheet) == [QUERY, RIGHT, WRONG, WRONG]
    assert "2 of 3 images cannot be read" in caplog.text and "broken.jpg" in caplog.text
    counted = {colour: count for count, colour in sheet.getcolors(2**24) or []}
    assert counted[214, 214, 214] > 2 * 20_000


def test_a_sheet_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        retrieval_sheet([])
