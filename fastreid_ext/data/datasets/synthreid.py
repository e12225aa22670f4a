"""SynthReID: people and vehicles that draw themselves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Literal

from fastreid_ext.data.datasets.base import ReIDDataset
from fastreid_ext.data.datasets.market_layout import read_market_layout
from fastreid_ext.data.datasets.registry import DATASETS
from fastreid_ext.data.synth.dataset import FORMAT, SynthSpec, draw_dataset

__all__ = ["SynthReID"]


@DATASETS.register(source="this toolbox")
class SynthReID(ReIDDataset):
    """People or vehicles drawn from a seed, before cameras of different angle, light and quality.

    It is drawn on first use below `<root>/synthreid/` and read from there afterwards. By default 100 training and 100
    test identities, 6 cameras, 3 images each.

    Args:
        root: folder of the data sets.
        kind: "person" or "vehicle".
        num_train_ids, num_test_ids, num_cameras, images_per_camera, num_distractors: see `SynthSpec`.
        size: height and width; by default 128x64 for people, 96x96 for vehicles.
        variation: how much cameras and poses differ.
        seed: other seeds have other identities, cameras and places.
    """

    layout: ClassVar[str] = "<root>/synthreid/<kind>-<digest>/  bounding_box_train/  query/  bounding_box_test/"
    distractor_pids: ClassVar[frozenset[int]] = frozenset({0})

    def __init__(
        self,
        root: Path,
        *,
        kind: Literal["person", "vehicle"] = "person",
        num_train_ids: int = 100,
        num_test_ids: int = 100,
        num_cameras: int = 6,
        images_per_camera: int = 3,
        num_distractors: int = 60,
        size: tuple[int, int] | None = None,
        variation: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        size = tuple(size) if size else (128, 64) if kind == "person" else (96, 96)  # type: ignore[assignment]
        spec = SynthSpec(
            kind=kind,
            num_train_ids=num_train_ids,
            num_test_ids=num_test_ids,
            num_cameras=num_cameras,
            images_per_camera=images_per_camera,
            num_distractors=num_distractors,
            size=size,  # type: ignore[arg-type]  # a pair, as above
            variation=float(variation),
            seed=seed,
        )
        digest = hashlib.sha256(json.dumps([FORMAT, asdict(spec)], sort_keys=True).encode()).hexdigest()[:10]
        read_market_layout(self, draw_dataset(root / "synthreid" / f"{kind}-{digest}", spec))
        self.check()
