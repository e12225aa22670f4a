"""Draws a whole data set: all of it or nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fastreid_ext.data.synth.camera import Camera
from fastreid_ext.data.synth.render import IDENTITIES, Kind, render
from fastreid_ext.utils.files import write_json

__all__ = ["FORMAT", "SynthSpec", "draw_dataset"]

FORMAT = 1
"""Counts the changes of the renderer: a set that an older one drew is drawn anew."""

# What a generator is for; with seed and numbers it makes each image independent of all others.
_IDENTITY, _CAMERA, _IMAGE = range(3)

_TRAIN, _QUERY, _GALLERY = "bounding_box_train", "query", "bounding_box_test"


@dataclass(frozen=True)
class SynthSpec:
    """What a synthetic data set is made of.

    Attributes:
        kind: "person" or "vehicle".
        num_train_ids, num_test_ids: identities.
        num_cameras: cameras; every identity passes all of them.
        images_per_camera: images of an identity by one camera; of a test identity the first is a query.
        num_distractors: images in the gallery of others than the test identities, as pid 0.
        size: height and width in pixels.
        variation: how much cameras and poses differ; 1 is the default difficulty, 0 has one view and light.
        seed: everything follows from it.

    Raises:
        ValueError: a number with which there is nothing to train on or to find.
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
        least = {"num_train_ids": 1, "num_test_ids": 1, "num_cameras": 2, "images_per_camera": 2, "num_distractors": 0}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"SynthReID's {name} is {getattr(self, name)}; it must be at least {number}")
        if min(self.size) < 16 or self.variation < 0:
            raise ValueError("SynthReID's size must be at least 16 pixels each way, and its variation not negative")


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
        workers: processes; by default one a processor.

    Raises:
        FileExistsError: `root` holds something else.
    """
    root = Path(root)
    described = _describe(spec)
    if _drawn(root) == described:
        return root
    if root.exists():
        raise FileExistsError(f"{root.absolute()} holds something else than the data set to be drawn: remove it")
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        _draw_all(temporary, spec, workers or os.cpu_count() or 1)
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


def _draw_all(folder: Path, spec: SynthSpec, workers: int) -> None:
    images = list(_images(spec))
    for name in (_TRAIN, _QUERY, _GALLERY):
        (folder / name).mkdir()
    chunks = [images[start : start + 32] for start in range(0, len(images), 32)]
    workers = min(workers, len(chunks))
    # "spawn": forking a process that already runs torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context) if workers > 1 else nullcontext()
    with pool as executor, tqdm(total=len(images), desc=f"drawing SynthReID ({spec.kind})", unit="image") as bar:
        tasks = (spec, str(folder))
        done = (
            executor.map(_draw_chunk, *zip(*((*tasks, chunk) for chunk in chunks), strict=True))
            if executor is not None
            else (_draw_chunk(*tasks, chunk) for chunk in chunks)
        )
        for count in done:
            bar.update(count)


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
def _identity(spec: SynthSpec, person: int):  # type: ignore[no-untyped-def]  # inferred: a person or a vehicle
    return IDENTITIES[spec.kind].sample(np.random.default_rng([spec.seed, _IDENTITY, person]))


@lru_cache(maxsize=64)
def _camera(spec: SynthSpec, camera: int) -> Camera:
    return Camera.sample(np.random.default_rng([spec.seed, _CAMERA, camera]), camera, spec.variation)
