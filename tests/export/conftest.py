"""Files that all tests of this folder may read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from exported_models import embedder

from fastreid_ext.export import FORMATS, export_model
from fastreid_ext.inference import CheckpointEmbedder


@pytest.fixture(scope="session")
def model() -> CheckpointEmbedder:
    return embedder()


@pytest.fixture(scope="session")
def exported(model: CheckpointEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The model in all formats."""
    folder = tmp_path_factory.mktemp("exported")
    return {kind: export_model(model, folder / f"model.{kind}").path for kind in FORMATS}


@pytest.fixture(scope="session")
def prepared_outside(model: CheckpointEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Files that take normalised images."""
    folder = tmp_path_factory.mktemp("outside")
    return {
        kind: export_model(model, folder / f"model.{kind}", preprocessing="outside").path for kind in ("onnx", "pt2")
    }
