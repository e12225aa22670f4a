"""The benchmark of galleries measures what it says; how fast is not a test's business."""

import json
import sys
from pathlib import Path

import pytest

from fastreid_ext.engine.cli.benchmark import main


def test_gallery_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.gallery"]
    monkeypatch.setattr(module, "DIM", 16)
    monkeypatch.setattr(module, "QUERIES", 120)
    path = tmp_path / "gallery.json"
    main(["gallery", "--device", "cpu", "--repeats", "1", "--vectors", "1000", "--json", str(path)])
    written = json.loads(path.read_text())
    rows = {(row["kind"], row["data"]): row for row in written["rows"]}
    assert len(rows) == 4 * 2 and {row["vectors"] for row in written["rows"]} == {1000}
    for (kind, data), row in rows.items():
        assert written["figures"][f"gallery.{kind}_{data}_recall"] == row["recall@10"] > 0.5
        assert row["queries/s"] > 0 and row["ms for one"] > 0 and row["build s"] > 0
    for data in ("clusters", "noise"):
        flat, codes = rows["flat", data], rows["ivfpq", data]
        assert flat["recall@10"] == 1 and flat["a search sees"] == "everything" and flat["bytes a vector"] == 68
        assert codes["bytes a vector"] < flat["bytes a vector"] < rows["hnsw", data]["bytes a vector"]
