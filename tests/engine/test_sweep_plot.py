"""Pictures of sweeps: what is drawn, and what is left alone."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.sweep.plot import plot_results
from fastreid_ext.engine.sweep.results import SettingResult

figures = pytest.importorskip("matplotlib.figure")

COUNT = "DATALOADER.NUM_INSTANCE"


def setting(loss: str, count: object, *values: float, seeds: int = 0, dataset: str = "SynthReID") -> SettingResult:
    runs = {seed: {f"{dataset}/mAP": value} for seed, value in enumerate(values)}
    return SettingResult({"NAME": loss, COUNT: str(count)}, runs, {}, tuple(range(seeds or len(values))))


GRID = [setting(loss, k, 60 - k, 62 - k, 64 - k + i) for i, loss in enumerate(("AdaSP", "MS")) for k in (4, 8, 16)]


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of all pictures that are drawn."""
    seen: list[Any] = []
    subplots = figures.Figure.subplots

    def spy(figure: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(subplots(figure, *args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(figures.Figure, "subplots", spy)
    return seen


def heights(bars: Any) -> list[float]:
    return [float(y) for y in bars[0].get_ydata()]


def test_the_suffix_says_what_is_written(tmp_path: Path) -> None:
    plot_results(GRID, metric="mAP", columns=COUNT, path=tmp_path / "new" / "plot.png")
    with Image.open(tmp_path / "new" / "plot.png") as image:
        assert image.format == "PNG"
        assert image.width == 1400
    plot_results(GRID, metric="mAP", columns=COUNT, path=tmp_path / "plot.svg")
    assert "</svg>" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"plot\.gif.*\.png or \.svg"):
        plot_results(GRID, metric="mAP", columns=COUNT, path=tmp_path / "plot.gif")


def test_the_same_results_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plot_results(GRID, metric="mAP", columns=COUNT, path=tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"dc:date" not in (tmp_path / "a.svg").read_bytes()


def test_a_line_for_each_loss_through_means_with_sample_standard_deviations(tmp_path: Path, axes: list[Any]) -> None:
    plot_results(GRID, metric="mAP", columns="NUM_INSTANCE", path=tmp_path / "plot.png")
    (drawn,) = axes
    assert drawn.get_xscale() == "log"
    assert [label.get_text() for label in drawn.get_xticklabels()] == ["4", "8", "16"]
    assert (drawn.get_xlabel(), drawn.get_ylabel()) == ("NUM_INSTANCE", "mAP (%)")
    assert drawn.get_title(loc="left") == "SynthReID: mean ± sample standard deviation, 3 seeds"
    first, second = drawn.containers
    assert heights(first) == [58, 54, 46]
    assert heights(second) == pytest.approx([58 + 1 / 3, 54 + 1 / 3, 46 + 1 / 3])
    (bars,) = first[2]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[56, 60], [52, 56], [44, 48]]
    low, high = drawn.get_ylim()
    assert low < 44
    assert high > 60
    (legend,) = drawn.figure.legends
    assert legend.get_title().get_text() == "NAME"
    # In the order in which the lines end.
    assert [text.get_text() for text in legend.get_texts()] == ["MS", "AdaSP"]


def test_lines_differ_in_colour_marker_and_dashes(tmp_path: Path, axes: list[Any]) -> None:
    results = [setting(f"loss {i}", k, 50.0 + i) for i in range(40) for k in (4, 8)]
    plot_results(results, metric="mAP", columns=COUNT, path=tmp_path / "plot.svg")
    lines = [bars[0] for bars in axes[0].containers]
    styles = [(line.get_color(), line.get_marker(), str(line._dash_pattern)) for line in lines]
    assert len(set(styles)) == 40
    assert [len(set(part)) for part in zip(*styles[:5], strict=True)] == [5, 5, 5]


@pytest.mark.parametrize(
    ("values", "scale", "ticks"),
    [
        (["0.3", "0.1", "0.2"], "linear", ["0.1", "0.2", "0.3"]),
        (["32", "4", "8"], "log", ["4", "8", "32"]),
        (["0", "1", "2"], "linear", ["0", "1", "2"]),
        (["TripletLoss", "$a$", "nan"], "linear", ["TripletLoss", r"\$a\$", "nan"]),
        (["7"], "linear", ["7"]),
    ],
)
def test_axis_fits_the_values(tmp_path: Path, axes: list[Any], values: list[str], scale: str, ticks: list[str]) -> None:
    plot_results([setting("A", v, 50.0) for v in values], metric="mAP", columns=COUNT, path=tmp_path / "plot.svg")
    assert axes[0].get_xscale() == scale
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ticks
    assert not axes[0].figure.legends


def test_what_is_missing_is_a_gap_and_fewer_seeds_are_hollow(tmp_path: Path, axes: list[Any]) -> None:
    results = [*GRID[:3], setting("MS", 4, 40.0, 41.0, seeds=3), setting("MS", 8, seeds=3), setting("EP", 4, seeds=3)]
    plot_results(results, metric="mAP", columns=COUNT, path=tmp_path / "plot.png")
    _, second = axes[0].containers
    assert heights(second)[0] == 40.5
    assert all(map(math.isnan, heights(second)[1:]))
    hollow = [line for line in axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [[y for y in line.get_ydata() if not math.isnan(y)] for line in hollow] == [[], [40.5]]
    assert "hollow: not all seeds" in axes[0].get_title(loc="left").replace("\n", " ")


def test_long_names_stand_below(tmp_path: Path, axes: list[Any]) -> None:
    results = [setting(f"a name that is too long to stand beside {i}", k, 50.0) for i in range(3) for k in (4, 8)]
    plot_results(results, metric="mAP", columns=COUNT, path=tmp_path / "plot.png")
    figure = axes[0].figure
    legend = figure.legends[0].get_window_extent()
    assert legend.y1 <= axes[0].get_window_extent().y0
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width


def test_one_of_several_test_sets(tmp_path: Path, axes: list[Any]) -> None:
    spec = "MarketLayout:/data/mine"
    results = [SettingResult({"K": k}, {0: {"SynthReID/mAP": 50.0, f"{spec}/mAP": 30.0}}, {}, (0,)) for k in "24"]
    for dataset, height in (("", 50), (spec, 30)):
        plot_results(results, metric="mAP", columns="K", path=tmp_path / "plot.svg", dataset=dataset)
        assert heights(axes[-1].containers[0]) == [height, height]
    assert axes[-1].get_title(loc="left") == f"{spec}: one seed"
    with pytest.raises(ConfigError, match=r"no test set 'Synth'\. Did you mean SynthReID"):
        plot_results(results, metric="mAP", columns="K", path=tmp_path / "plot.svg", dataset="Synth")


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    with pytest.raises(ConfigError, match="no label 'K'"):
        plot_results(GRID, metric="mAP", columns="K", path=path)
    with pytest.raises(ConfigError, match=r"no metric 'map'\. Did you mean mAP"):
        plot_results(GRID, metric="map", columns=COUNT, path=path)
    with pytest.raises(ConfigError, match="no run of the sweep has a mAP yet"):
        plot_results([setting("A", 4, seeds=3)], metric="mAP", columns=COUNT, path=path)
    assert not path.exists()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"fastreid_ext\[viz\]"):
        plot_results(GRID, metric="mAP", columns=COUNT, path=tmp_path / "plot.svg")


def test_matplotlib_is_left_as_it_was(tmp_path: Path) -> None:
    script = """
import sys, matplotlib
names = [name for name in matplotlib.rcParams if name != "backend"]  # Whoever asks for it chooses one.
before = [matplotlib.rcParams[name] for name in names]
from fastreid_ext.engine.sweep.plot import plot_results
from fastreid_ext.engine.sweep.results import SettingResult
results = [SettingResult({"K": k}, {0: {"mAP": 50.0}}) for k in "24"]
plot_results(results, metric="mAP", columns="K", path=sys.argv[1])
assert [matplotlib.rcParams[name] for name in names] == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "plot.svg")], check=True, timeout=120)
    assert (tmp_path / "plot.svg").stat().st_size > 1000
