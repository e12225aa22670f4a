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
        num_train_ids: identities to train on.
        num_test_ids: others to be found.
        num_cameras: cameras; every identity passes all of them.
        images_per_camera: images of an identity by one camera; of a test identity the first is a query.
        num_distractors: images of others in the gallery, as pid 0.
        size: height and width; by default (128, 64) for people, (96, 96) for vehicles.
        variation: how much cameras and poses differ, from 0 (one side and light) to 3.
        seed: other seeds have other identities, cameras and places.

    Raises:
        ValueError: an option with which nothing can be drawn.
        FileExistsError: there is something else under the data set's name.
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
        spec = SynthSpec(
            kind=kind,
            num_train_ids=num_train_ids,
            num_test_ids=num_test_ids,
            num_cameras=num_cameras,
            images_per_camera=images_per_camera,
            num_distractors=num_distractors,
            size=((128, 64) if kind == "person" else (96, 96)) if size is None else size,
            variation=variation,
            seed=seed,
        )
        read_market_layout(self, draw_dataset(Path(root) / "synthreid" / f"{kind}-{_digest(spec)}", spec))
        self.check()


def _digest(spec: SynthSpec) -> str:
    # 1 and 1.0 are the same variation, but not the same text.
    described = json.dumps([FORMAT, {**asdict(spec), "variation": float(spec.variation)}], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:10]
