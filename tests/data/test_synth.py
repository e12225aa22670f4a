"""Drawing a data set: the same pictures for the same seed, and all of them or none."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_synth import KINDS, TINY

from fastreid_ext.data.synth import dataset as synth
from fastreid_ext.data.synth.dataset import SynthSpec, draw_dataset
from fastreid_ext.data.synth.render import Kind, render

REPOSITORY = Path(__file__).resolve().parents[2]

# Draws TINY into sys.argv[1] in a process of its own; with a second argument, waits there in the middle for its end.
SCRIPT = f"""
import sys, time
from pathlib import Path
from fastreid_ext.data.synth import dataset

drawn, render = [], dataset.render
def slow(*args):
    drawn.append(args)
    if len(drawn) == 10:
        Path(sys.argv[2]).touch()
        time.sleep(60)
    return render(*args)
if len(sys.argv) > 2:
    dataset.render = slow
dataset.draw_dataset(sys.argv[1], dataset.SynthSpec(**{TINY!r}), workers=1)
"""


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def images(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in contents(folder).items() if name.endswith(".jpg")}


def run_elsewhere(code: str, *arguments: Path, stdout: int | None = None) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join((str(REPOSITORY), os.environ.get("PYTHONPATH", "")))
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, stdout=stdout, stderr=subprocess.DEVNULL)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TINY, for those who only read."""
    return draw_dataset(tmp_path_factory.mktemp("synth") / "tiny", SynthSpec(**TINY))


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_bytes_each_time_and_another_seed_others(tmp_path: Path, kind: Kind) -> None:
    first = images(draw_dataset(tmp_path / "first", SynthSpec(kind=kind, **TINY)))
    synth._identity.cache_clear()
    synth._camera.cache_clear()
    assert images(draw_dataset(tmp_path / "again", SynthSpec(kind=kind, **TINY))) == first
    other = images(draw_dataset(tmp_path / "other", SynthSpec(kind=kind, **TINY, seed=1)))
    assert other.keys() == first.keys()
    assert not set(other.values()) & set(first.values())
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_has_other_identities_and_other_cameras(kind: Kind) -> None:
    first, other = (SynthSpec(kind=kind, **TINY, seed=seed) for seed in (0, 1))
    assert synth._identity(first, 1) not in (synth._identity(other, 1), synth._identity(first, 2))
    assert synth._camera(first, 0) not in (synth._camera(other, 0), synth._camera(first, 1))


def test_two_processes_draw_what_one_draws(tmp_path: Path) -> None:
    spec = SynthSpec(**TINY | {"num_distractors": 30})
    alone, together = (draw_dataset(tmp_path / str(workers), spec, workers=workers) for workers in (1, 2))
    assert len(images(alone)) > 32, "one chunk has no need of a second process"
    assert contents(together) == contents(alone)


def test_an_image_depends_on_no_other_image(tiny: Path, tmp_path: Path) -> None:
    more = images(draw_dataset(tmp_path / "more", SynthSpec(**TINY | {"images_per_camera": 3})))
    drawn = images(tiny)
    of_identities = {name for name in drawn if not Path(name).name.startswith("0000")}
    assert {name: more[name] for name in of_identities} == {name: drawn[name] for name in of_identities}


def test_the_global_random_states_are_neither_used_nor_changed(tiny: Path, tmp_path: Path) -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index,union-attr]
    drawn = draw_dataset(tmp_path / "set", SynthSpec(**TINY))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index,union-attr]
    assert after == before
    assert images(drawn) == images(tiny)


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def broken(*args: Any) -> Image.Image:
        seen.append(args)
        if len(seen) == 10:
            raise OSError("the pencil broke")
        return render(*args)

    monkeypatch.setattr(synth, "render", broken)
    with pytest.raises(OSError, match="the pencil broke"):
        draw_dataset(tmp_path / "set", SynthSpec(**TINY), workers=1)
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_in_the_middle_the_next_call_draws_all(tiny: Path, tmp_path: Path) -> None:
    root, sign = tmp_path / "sets" / "set", tmp_path / "sign"
    process = run_elsewhere(SCRIPT, root, sign)
    try:
        wait_until(sign.exists, process)
        assert len(list(root.parent.glob(".set.*/*/*.jpg"))) == 9, "not killed in the middle"
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not root.exists()
    assert contents(draw_dataset(root, SynthSpec(**TINY))) == contents(tiny)


def test_the_workers_of_a_killed_process_end(tmp_path: Path) -> None:
    code = (
        "from fastreid_ext.data.synth.dataset import SynthSpec, draw_dataset\n"
        f"draw_dataset({str(tmp_path / 'set')!r}, SynthSpec(num_train_ids=2000), workers=2)"
    )
    # The workers inherit the pipe: it ends when the last of them has ended.
    process = run_elsewhere(code, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: next(tmp_path.glob(".set.*/*/*.jpg"), None) is not None, process)
    finally:
        process.kill()
    process.communicate(timeout=30)
    assert not (tmp_path / "set").exists()


def test_two_at_the_same_time_make_one_data_set(tiny: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    processes = [run_elsewhere(SCRIPT, root) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert contents(root) == contents(tiny)
    assert list(tmp_path.iterdir()) == [root]


def test_who_comes_second_takes_what_the_first_has_drawn(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, draw_all = tmp_path / "set", synth._draw_all

    def overtaken(*args: Any) -> None:
        monkeypatch.undo()
        draw_dataset(root, SynthSpec(**TINY))
        draw_all(*args)

    monkeypatch.setattr(synth, "_draw_all", overtaken)
    assert draw_dataset(root, SynthSpec(**TINY)) == root
    assert contents(root) == contents(tiny)
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize("content", [None, "no JSON", "{}"])
def test_something_else_under_that_name_is_refused_and_left_alone(tmp_path: Path, content: str | None) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (root / "thesis.txt").write_text("all my work")
    if content is not None:
        (root / "synth.json").write_text(content)
    before = contents(root)
    with pytest.raises(FileExistsError, match=r"set holds something else than the data set to be drawn: move it away"):
        draw_dataset(root, SynthSpec(**TINY))
    assert contents(root) == before
    assert list(tmp_path.iterdir()) == [root]


def test_another_specification_under_that_name_is_refused(tmp_path: Path) -> None:
    root = draw_dataset(tmp_path / "set", SynthSpec(**TINY))
    before = contents(root)
    with pytest.raises(FileExistsError, match="something else"):
        draw_dataset(root, SynthSpec(**TINY, seed=1))
    assert contents(root) == before


def test_the_specification_is_written_beside_the_images(tiny: Path) -> None:
    described = json.loads((tiny / "synth.json").read_text())
    options = TINY | {"kind": "person", "size": [32, 16], "variation": 1.0, "seed": 0}
    assert described == {"format": synth.FORMAT, **options}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 16), (17, 301)])
def test_the_limits_can_be_drawn(tmp_path: Path, kind: Kind, size: tuple[int, int]) -> None:
    draw_dataset(tmp_path / "set", SynthSpec(kind=kind, **TINY | {"size": size, "variation": 3.0}))
