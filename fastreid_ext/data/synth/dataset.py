"""Draws a whole data set: all of it or nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fastreid_ext.data.synth.camera import Camera
from fastreid_ext.data.synth.render import IDENTITIES, Identity, Kind, render
from fastreid_ext.utils.files import write_json

__all__ = ["FORMAT", "SynthSpec", "draw_dataset"]

FORMAT = 1
"""Counts the changes of the renderer: a set that an older one drew is drawn anew."""

# What a generator is for; with seed and numbers it makes each image independent of all others.
_IDENTITY, _CAMERA, _IMAGE = range(3)

_LEAST = {
    "num_train_ids": 1,
    "num_test_ids": 1,
    "num_cameras": 2,
    "images_per_camera": 2,
    "num_distractors": 0,
    "seed": 0,
}

_TRAIN, _QUERY, _GALLERY = "bounding_box_train", "query", "bounding_box_test"


@dataclass(frozen=True)
class SynthSpec:
    """What a synthetic data set is made of.

    Attributes:
        kind: "person" or "vehicle".
        num_train_ids: identities to train on.
        num_test_ids: others to be found.
        num_cameras: cameras; every identity passes all of them.
        images_per_camera: images of an identity by one camera; of a test identity the first is a query.
        num_distractors: images in the gallery of others than the test identities, as pid 0.
        size: height and width in pixels.
        variation: how much cameras and poses differ, up to 3; 1 is the default difficulty; with 0, light
            and side are the same, places and the heights of cameras still differ.
        seed: everything follows from it.

    Raises:
        ValueError: a kind that is not drawn, or a number with which there is nothing to train on or to find.
    """

    kind: Kind = "person"
    num_train_ids: int = 100
    num_test_ids: int = 100
    num_cameras: int = 6
    images_per_camera: int = 3
    num_distractors: int = 60
    size: tuple[int, int] = (128, 64)
    variation: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in IDENTITIES:
            raise ValueError(f"SynthReID draws {' or '.join(IDENTITIES)}, not {self.kind!r}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"SynthReID's {name} is {value!r}; it must be a whole number of at least {least}")
        if not isinstance(self.size, tuple) or len(self.size) != 2 or not all(_is_side(side) for side in self.size):
            raise ValueError(
                f"SynthReID's size is {self.size!r}; it must be a height and a width of at least 16 pixels: (128, 64)"
            )
        if not isinstance(self.variation, int | float) or not 0 <= self.variation <= 3:
            raise ValueError(f"SynthReID's variation is {self.variation!r}; it must be a number from 0 to 3")


def _is_side(side: object) -> bool:
    return isinstance(side, int) and side >= 16


@dataclass(frozen=True)
class _Image:
    """One image to draw: who (0 is a distractor with a number of its own), by which camera, which one, and where to."""

    pid: int
    person: int
    camera: int
    number: int
    folder: str

    @property
    def name(self) -> str:
        return f"{self.pid:04d}_c{self.camera + 1}s1_{self.person:04d}{self.number:02d}_00.jpg"


def draw_dataset(root: str | os.PathLike[str], spec: SynthSpec, *, workers: int | None = None) -> Path:
    """Draws the data set into the folder `root`, in Market-1501's layout, unless it is there already.

    It is drawn beside `root` and then renamed: what is under that name is whole, also when several processes draw it at
    once. `synth.json` in it holds the specification.

    Args:
        root: the folder to make.
        spec: what to draw.
        workers: processes; by default one a processor, and one alone for a small set. With more than one, a script
            needs the usual `if __name__ == "__main__":`, for they are started anew and import it.

    Raises:
        FileExistsError: `root` holds something else.
    """
    root = Path(root)
    described = _describe(spec)
    if root.exists():
        if _drawn(root) == described:
            return root
        raise FileExistsError(f"{root.absolute()} holds something else than the data set to be drawn: move it away")
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        _draw_all(temporary, spec, workers)
        write_json(temporary / "synth.json", described)
        temporary.chmod(0o755)
        try:
            temporary.rename(root)
        except OSError:
            # Another process was first, with the same images.
            if _drawn(root) != described:
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def _describe(spec: SynthSpec) -> dict[str, object]:
    return {"format": FORMAT, **asdict(spec), "size": list(spec.size)}


def _drawn(root: Path) -> dict[str, object] | None:
    try:
        described: dict[str, object] = json.loads((root / "synth.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return described


def _draw_all(folder: Path, spec: SynthSpec, workers: int | None) -> None:
    images = list(_images(spec))
    for name in (_TRAIN, _QUERY, _GALLERY):
        (folder / name).mkdir()
    chunks = [images[start : start + 32] for start in range(0, len(images), 32)]
    # To start a process takes as long as to draw some hundred images.
    workers = min(workers or min(os.cpu_count() or 1, 1 + len(images) // 512), len(chunks))
    draw = partial(_draw_chunk, spec, str(folder))
    # "spawn": forking a process that already runs torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _end_with_parent) if workers > 1 else nullcontext()
    with pool as executor, tqdm(total=len(images), desc=f"drawing SynthReID ({spec.kind})", unit="image") as bar:
        for count in map(draw, chunks) if executor is None else executor.map(draw, chunks):
            bar.update(count)


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone, for a killed one cannot stop its workers."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw_chunk(spec: SynthSpec, folder: str, images: list[_Image]) -> int:
    for image in images:
        who = _identity(spec, image.person)
        camera = _camera(spec, image.camera)
        rng = np.random.default_rng([spec.seed, _IMAGE, image.person, image.camera, image.number])
        picture = render(who, camera, rng, spec.size)
        picture.save(Path(folder) / image.folder / image.name, quality=camera.quality)
    return len(images)


def _images(spec: SynthSpec) -> Iterator[_Image]:
    for pid in range(1, spec.num_train_ids + spec.num_test_ids + 1):
        for camera in range(spec.num_cameras):
            for number in range(spec.images_per_camera):
                folder = _TRAIN if pid <= spec.num_train_ids else _GALLERY if number else _QUERY
                yield _Image(pid, pid, camera, number, folder)
    for distractor in range(spec.num_distractors):
        person = spec.num_train_ids + spec.num_test_ids + 1 + distractor
        yield _Image(0, person, distractor % spec.num_cameras, 0, _GALLERY)


@lru_cache(maxsize=64)
def _identity(spec: SynthSpec, person: int) -> Identity:
    return IDENTITIES[spec.kind].sample(np.random.default_rng([spec.seed, _IDENTITY, person]))


@lru_cache(maxsize=64)
def _camera(spec: SynthSpec, camera: int) -> Camera:
    return Camera.sample(np.random.default_rng([spec.seed, _CAMERA, camera]), camera, spec.variation)
