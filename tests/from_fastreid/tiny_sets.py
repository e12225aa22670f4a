"""The data sets of FastReID's configs, a few images each, in their real layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["TINY_SETS"]

TRAIN, TEST = (1, 2), (3, 4)
"""Identities."""
SHOTS = range(2)
CAMERAS = (1, 2)


def _image(path: Path, pid: int) -> None:
    """Every identity has its own colour."""
    colour = np.random.default_rng(pid).integers(40, 216, 3)
    noise = np.random.default_rng(len(str(path))).integers(-40, 40, (32, 16, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path)


def _list(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _folders(root: Path, name: str, splits: Sequence[str], file: str) -> None:
    """Folders of images for training, query and gallery."""
    train, query, gallery = splits
    for pid in (*TRAIN, *TEST):
        for camera in CAMERAS:
            for shot in SHOTS:
                split = train if pid in TRAIN else gallery if shot else query
                _image(root / name / split / file.format(pid=pid, camera=camera, shot=shot), pid)


def _market1501(root: Path) -> None:
    splits = ("bounding_box_train", "query", "bounding_box_test")
    _folders(root, "Market-1501-v15.09.15", splits, "{pid:04d}_c{camera}s1_{shot:06d}_00.jpg")


def _dukemtmc(root: Path) -> None:
    splits = ("bounding_box_train", "query", "bounding_box_test")
    _folders(root, "DukeMTMC-reID", splits, "{pid:04d}_c{camera}_f{shot:07d}.jpg")


def _veri(root: Path) -> None:
    splits = ("image_train", "image_query", "image_test")
    _folders(root, "veri", splits, "{pid:04d}_c{camera:03d}_{shot:08d}_0.jpg")


def _msmt17(root: Path) -> None:
    lists: dict[str, list[str]] = {"train": [], "val": [], "query": [], "gallery": []}
    for folder, pids in (("train", TRAIN), ("test", TEST)):
        for pid, camera, shot in ((pid, camera, shot) for pid in pids for camera in CAMERAS for shot in SHOTS):
            number = pid - pids[0]
            name = f"{number:04d}/{number:04d}_{2 * camera + shot:03d}_{camera:02d}_0303morning_0015_0.jpg"
            split = ("train" if camera == 1 else "val") if folder == "train" else "gallery" if shot else "query"
            lists[split].append(f"{name} {number}")
            _image(root / "MSMT17_V1" / folder / name, pid)
    for split, lines in lists.items():
        _list(root / "MSMT17_V1" / f"list_{split}.txt", lines)


def _vehicleid(root: Path) -> None:
    lists: dict[tuple[int, ...], list[str]] = {TRAIN: [], TEST: []}
    for pids, lines in lists.items():
        for pid, shot in ((pid, shot) for pid in pids for shot in range(4)):
            lines.append(f"{pid:05d}{shot:02d} {pid}")
            _image(root / "vehicleid" / "image" / f"{pid:05d}{shot:02d}.jpg", pid)
    folder = root / "vehicleid" / "train_test_split"
    _list(folder / "train_list.txt", lists[TRAIN])
    for size in (800, 1600, 2400, 13164):
        _list(folder / f"test_list_{size}.txt", lists[TEST])


def _veriwild(root: Path) -> None:
    train, query, gallery, info = [], [], [], ["id/image;Camera ID;Time;Model;Type;Colour"]
    for pid in (*TRAIN, *TEST):
        for camera, shot in ((camera, shot) for camera in CAMERAS for shot in SHOTS):
            name = f"{pid:05d}/{10 * pid + 2 * camera + shot:06d}"
            (train if pid in TRAIN else gallery if shot else query).append(name)
            info.append(f"{name};{camera};2018-03-21 10:00:00;Audi;SUV;red")
            _image(root / "VERI-Wild" / "images" / f"{name}.jpg", pid)
    folder = root / "VERI-Wild" / "train_test_split"
    _list(folder / "vehicle_info.txt", info)
    _list(folder / "train_list.txt", train)
    for size in (3000, 5000, 10000):
        _list(folder / f"test_{size}_query.txt", query)
        _list(folder / f"test_{size}.txt", gallery)


TINY_SETS: dict[str, Callable[[Path], None]] = {
    "DukeMTMC": _dukemtmc,
    "MSMT17": _msmt17,
    "Market1501": _market1501,
    "VeRi": _veri,
    "VeRiWild": _veriwild,
    "VehicleID": _vehicleid,
}
"""Writers of each set below a folder of data sets: eight training images of two identities, eight test images."""
