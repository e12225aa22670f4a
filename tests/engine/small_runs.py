"""Options of trainings that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def options(data: Path, output: Path, **more: Any) -> list[Any]:
    """Command-line options of a training of a few steps on a tiny network and 32x16 images."""
    values = {
        "DATASETS.NAMES": (f"MarketLayout:{data}",),
        "DATASETS.TESTS": (f"MarketLayout:{data}",),
        "OUTPUT_DIR": str(output),
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.NAME": "build_osnet_backbone",
        "MODEL.BACKBONE.DEPTH": "x0_25",
        "MODEL.BACKBONE.FEAT_DIM": 128,
        "MODEL.HEADS.WITH_BNNECK": True,
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
        "MODEL.LOSSES.TRI.HARD_MINING": True,
        "INPUT.SIZE_TRAIN": [32, 16],
        "INPUT.SIZE_TEST": [32, 16],
        "INPUT.FLIP.ENABLED": True,
        "INPUT.REA.ENABLED": True,
        "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
        "DATALOADER.NUM_INSTANCE": 2,
        "DATALOADER.NUM_WORKERS": 1,
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.MAX_EPOCH": 2,
        "SOLVER.WARMUP_ITERS": 3,
        "SOLVER.CHECKPOINT_PERIOD": 1,
        "SOLVER.LOG_PERIOD": 2,
        **more,
    }
    return [part for pair in values.items() for part in pair]
