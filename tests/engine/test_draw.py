"""`tools/draw.py`, as a user runs it."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.engine.cli import draw
from fastreid_ext.evaluation.feature_files import load_features
from fastreid_ext.evaluation.retrieval_sheet import RIGHT, WRONG
from fastreid_ext.evaluation.tsne import choose_images, tsne
from fastreid_ext.evaluation.tsne_picture import draw_places

DRAW = Path(__file__).resolve().parents[2] / "tools" / "draw.py"


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str = "mine.npz", **changes: Any) -> None:
    """Five identities before three cameras, six images each, and a distractor of which there is no query."""
    rng = np.random.default_rng(0)
    pids, camids = np.r_[np.repeat(np.arange(1, 6), 6), [0] * 8], np.r_[np.tile(np.arange(3), 10), [0] * 8]
    paths = [f"images/{number}.png" for number in range(len(pids))]
    Path("images").mkdir(exist_ok=True)
    for path, pid in zip(paths, pids, strict=True):
        Image.new("RGB", (12, 24), (40 * int(pid), 90, 120)).save(path)
    arrays: dict[str, Any] = {
        "features": 6 * np.eye(6)[pids] + rng.normal(size=(38, 6)),
        "pids": pids,
        "camids": camids,
        "paths": np.array(paths),
        "is_query": (np.arange(38) % 6 == 0) & (pids > 0),
        **changes,
    }
    np.savez(name, **{key: value for key, value in arrays.items() if value is not None})


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the program says when it refuses."""
    with pytest.raises(SystemExit) as ended:
        draw.main([*words])
    assert ended.value.code
    return capsys.readouterr().err


def frames(path: str) -> list[bool]:
    """Whether there is a right and a wrong frame."""
    pixels = {colour for _, colour in Image.open(path).convert("RGB").getcolors(2**24) or []}
    return [RIGHT in pixels, WRONG in pixels]


def test_a_retrieval_sheet_is_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    words = ["retrieval", "mine.npz", "--columns", "4", "TEST.METRIC", "euclidean"]
    monkeypatch.setattr(sys, "argv", [str(DRAW), *words])
    runpy.run_path(str(DRAW), run_name="__main__")
    said = capsys.readouterr()
    # Right ones first, four of each identity before other cameras.
    assert frames("retrieval.png") == [True, False]
    assert "5 queries to draw instead of 8" in said.out + said.err


@pytest.mark.parametrize("order", ["random", "best", "worst"])
def test_rows_and_columns_are_chosen(order: str) -> None:
    write()
    sizes = []
    for number in ("1", "2"):
        draw.main(
            ["retrieval", "mine.npz", "--order", order, "--queries", number, "--columns", "5", "--output", "a.png"]
        )
        sizes.append(Image.open("a.png").size)
        assert frames("a.png") == [True, True]
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] < sizes[1][1]


def test_a_sheet_shows_the_last_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    titles: list[str] = []
    sheet = draw.retrieval_sheet
    monkeypatch.setattr(draw, "retrieval_sheet", lambda rows, title: (titles.append(title), sheet(rows, title))[1])
    rerank = ["TEST.RERANK.ENABLED", "True", "TEST.RERANK.K1", "4", "TEST.RERANK.K2", "2"]
    for options in ([], rerank, [*rerank, "TEST.AQE.ENABLED", "True"]):
        draw.main(["retrieval", "mine.npz", "--pids", "2,4", "--output", "folder/a.jpg", *options])
    distances = ("cosine distance", "re-ranked distance, rerank", "re-ranked distance, AQE + rerank")
    assert titles == [f"mine: {distance}" for distance in distances]
    assert Image.open("folder/a.jpg").format == "JPEG"


def test_what_cannot_be_drawn_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    write()
    write("bare.npz", paths=None)
    assert "no feature file" in failure(capsys, "retrieval", "nowhere.npz")
    assert "no feature file given" in failure(capsys, "retrieval")
    assert "invalid choice: 'drawing'" in failure(capsys, "drawing", "mine.npz")
    assert "draw one feature file" in failure(capsys, "retrieval", "mine.npz", "bare.npz")
    for picture in ("retrieval", "tsne"):
        assert "the name of the picture ends in .png" in failure(capsys, picture, "mine.npz", "--output", "a.doc")
    assert "bare has no paths, and a retrieval sheet shows images: give" in failure(capsys, "retrieval", "bare.npz")
    assert "bare has no paths, and --thumbnails shows" in failure(capsys, "tsne", "bare.npz", "--thumbnails")
    assert "no query shows identity 77" in failure(capsys, "retrieval", "mine.npz", "--pids", "77")
    assert "0 is below 1" in failure(capsys, "retrieval", "mine.npz", "--queries", "0")
    assert not Path("retrieval.png").exists()


def test_a_tsne_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    for module in ("sklearn.manifold", "matplotlib"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, module, None)
            assert "pip install 'fastreid_ext[viz]'" in failure(capsys, "tsne", "mine.npz")


def test_images_of_a_tsne() -> None:
    write(pids=np.r_[[1] * 12, [2] * 6, [3] * 6, [4] * 6, [-1] * 4, [0] * 4], is_query=np.arange(38) % 6 == 0)
    features = load_features("mine.npz")
    features.pids[36] = -1
    everything = choose_images(features, identities=99)
    # Neither junk nor the distractors that no query shows; identities one behind the other.
    assert everything.tolist() == list(range(30))
    assert choose_images(features, identities=1).tolist() == list(range(12))
    few = choose_images(features, images=10, identities=3)
    counts = features.pids[few].unique(return_counts=True)
    assert int(counts[0][0]) == 1 and sorted(counts[1].tolist()) == [3, 3, 4]
    assert choose_images(features, images=10, seed=1).tolist() == choose_images(features, images=10, seed=1).tolist()
    drawn = {tuple(choose_images(features, identities=1, order="random", seed=seed).tolist()) for seed in range(9)}
    assert len(drawn) > 1
    with pytest.raises(ValueError, match="3 images to draw; t-SNE needs at least 4"):
        choose_images(features, images=3)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_tsne_keeps_identities_together(metric: Any) -> None:
    pytest.importorskip("sklearn")
    pids = torch.arange(24) // 8
    values = 9 * torch.eye(6)[pids] + 0.5 * torch.randn(24, 6)
    if metric == "cosine":
        values *= torch.rand(24, 1) + 0.1
    places = tsne(values, metric=metric, seed=3)
    assert torch.equal(places, tsne(values, metric=metric, seed=3))
    distances = torch.cdist(places, places).fill_diagonal_(torch.inf)
    assert torch.equal(pids[distances.argmin(1)], pids)
    for wrong, message in ((values[:3], "at least 4"), (torch.ones(9, 6), "all features are equal")):
        with pytest.raises(ValueError, match=message):
            tsne(wrong)


def test_a_tsne_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    write()
    for number in range(6):
        Path(f"images/{number}.png").unlink()
    draw.main(["tsne", "mine.npz", "--identities", "3", "--images", "9"])
    assert Image.open("tsne.png").size == (2000, 2000)
    draw.main(["tsne", "mine.npz", "--identities", "5", "--thumbnails", "--output", "with_images.png"])
    said = capsys.readouterr()
    assert "6 images cannot be read and stay points: images/0.png: no such file, and 5 more" in said.out + said.err
    pixels = {colour[:3] for _, colour in Image.open("with_images.png").getcolors(2**24) or []}
    assert (80, 90, 120) in pixels


def test_pictures_of_the_same_places_are_the_same() -> None:
    pytest.importorskip("matplotlib")
    places = torch.randn(30, 2)
    for form in ("svg", "pdf"):
        files = [Path(f"{i}.{form}") for i in (1, 2)]
        for file in files:
            draw_places(file, places, torch.arange(30) % 3, title="100 $ of costs")
        assert files[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(ValueError, match="ends in"):
        draw_places("a.doc", places, torch.arange(30))
