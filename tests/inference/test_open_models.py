"""Models of runs, checkpoints and exported files, and what is said of those that cannot be opened."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from small_models import SIZE, small_config, small_model
from torch import Tensor

from fastreid_ext.config import ConfigError
from fastreid_ext.inference import CardError, CheckpointEmbedder, Embedder, ModelCard, Predictor, open_embedder
from fastreid_ext.inference import open as opening
from fastreid_ext.inference.checkpoint_embedder import checkpoint_config
from fastreid_ext.inference.open import model_file
from fastreid_ext.inference.saved_config import portable_yaml, saved_config
from fastreid_ext.modeling.checkpoint import CheckpointError


def test_of_a_run_the_best_is_taken(tmp_path: Path) -> None:
    names = ["model_best.pth", "model_final.pth", "model_0003.pth"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "last_checkpoint").write_text("model_0003.pth\n")
    for name in names:
        assert model_file(tmp_path) == tmp_path / name
        (tmp_path / name).unlink()
    (tmp_path / "mine.onnx").touch()
    with pytest.raises(CheckpointError, match=r"no model_best\.pth and no model_final\.pth; name one .*: mine\.onnx"):
        open_embedder(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        open_embedder(tmp_path / "other.pth")


def test_the_card_says_what_the_config_does(checkpoint: Path) -> None:
    embedder = open_embedder(checkpoint.parent)
    card = embedder.card
    assert embedder.source == str(checkpoint)
    assert (card.size, card.crop, card.flip, card.metric, card.beta) == (SIZE, None, False, "cosine", None)
    assert card.pixel_mean == (123.675, 116.28, 103.53) and card.name == "Baseline build_osnet_backbone"
    assert ModelCard.from_json(card.to_json(), source="it") == card
    options = ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [16, 16], "TEST.FLIP.ENABLED", True]
    options += ["TEST.METRIC", "euclidean", "TEST.BETA_NORM.ENABLED", True, "TEST.BETA_NORM.BETA", 0.1]
    card = open_embedder(checkpoint, options=options).card
    assert (card.crop, card.flip, card.metric, card.beta) == ((16, 16), True, "euclidean", 0.1)


def test_the_config_of_a_card_tells_no_folders() -> None:
    folders = {"OUTPUT_DIR": "/secret/out", "DATASETS.ROOT": "/secret/data", "MODEL.WEIGHTS": "/secret/weights.pth"}
    text = portable_yaml(small_config({**folders, "TEST.IMS_PER_BATCH": 5}))
    assert "secret" not in text and saved_config(text, source="it").TEST.IMS_PER_BATCH == 5


def test_a_checkpoint_without_config(checkpoint: Path, tmp_path: Path) -> None:
    plain, cfg = tmp_path / "fastreid.pth", small_config()
    state = {"model": torch.load(checkpoint)["model"]}
    torch.save(state, plain)
    with pytest.raises(ConfigError, match=r"fastreid\.pth has no config.*config="):
        open_embedder(plain)
    (tmp_path / "mine.yml").write_text(cfg.dump())
    assert checkpoint_config(state, plain, config=tmp_path / "mine.yml") == cfg
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert open_embedder(plain).card == open_embedder(checkpoint).card
    with pytest.raises(CheckpointError, match="another model"):
        open_embedder(plain, config="Market1501/bagtricks_R50")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("MODEL: [", "is not valid YAML"),
        ("- 1", "holds no keys and values"),
        ("WRONG: 1", "unknown config key WRONG in the config in"),
    ],
)
def test_a_config_that_cannot_be_read(checkpoint: Path, tmp_path: Path, config: str, message: str) -> None:
    torch.save({**torch.load(checkpoint), "config": config}, tmp_path / "odd.pth")
    with pytest.raises(ConfigError, match=message):
        open_embedder(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["TEST.FLOP.ENABLED", True], "Did you mean TEST.FLIP.ENABLED"),
        (["TEST.METRIC", "manhattan"], "choose one of cosine, euclidean"),
        (["TEST.ENSEMBLE", ["other.pth"]], "this is for one model"),
        (["MODEL.DEVICE", "cuda:9"], "torch sees"),
        (["TEST.FLIP.ENABLED"], "has no value"),
    ],
)
def test_options_that_do_not_fit(checkpoint: Path, options: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_embedder(checkpoint, options=options)


def test_the_trained_model_stays_as_it_is() -> None:
    cfg = small_config({"TEST.MIXED_POOL.ENABLED": True})
    model = small_model(cfg)
    images = torch.randint(0, 256, (2, 3, *SIZE)).float()
    before = model(images)
    names = list(model.state_dict())
    embedder = CheckpointEmbedder(cfg, model)
    assert torch.equal(model(images), before) and list(model.state_dict()) == names
    assert embedder.embed(torch.empty(0, 3, *SIZE, dtype=torch.uint8)).shape == (0, embedder.card.dim)


class Exported(Embedder):
    """As one that reads a file, which holds a card."""

    def __init__(self, path: Path, *, device: torch.device) -> None:
        super().__init__(ModelCard.from_json(path.read_text(), source=str(path)), source=str(path), device=device)

    def embed(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3))


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a format that is known by its suffix."""
    module = ModuleType("a_reader")
    vars(module)["Exported"] = Exported
    monkeypatch.setitem(sys.modules, "a_reader", module)
    monkeypatch.setitem(opening.EXPORTED, ".onnx", "a_reader.Exported")
    config = portable_yaml(small_config({"TEST.IMS_PER_BATCH": 5}))
    card = ModelCard(fingerprint="c0105", size=SIZE, dim=3, config=config)
    (tmp_path / "model.ONNX").write_text(card.to_json())
    return tmp_path / "model.ONNX"


def test_an_exported_file_is_opened_by_its_suffix(exported: Path) -> None:
    predictor = Predictor(exported, device="cpu")
    assert isinstance(predictor.embedder, Exported) and predictor.batch_size == 5
    assert predictor.embed(torch.ones(2, 3, 8, 8)).tolist() == [[255.0] * 3] * 2


def test_of_an_exported_file_only_the_comparison_can_change(exported: Path) -> None:
    options = [
        "TEST.METRIC",
        "euclidean",
        "TEST.BETA_NORM.ENABLED",
        True,
        "DATASETS.ROOT",
        "/data",
        "MODEL.DEVICE",
        "cpu",
    ]
    before, after = open_embedder(exported).card, open_embedder(exported, options=options).card
    assert (after.metric, after.beta) == ("euclidean", 0.004)
    assert after.changed(metric="cosine", beta=None, config=before.config) == before
    # What it does already is no change.
    assert open_embedder(exported, options=["TEST.FLIP.ENABLED", False]).card.fingerprint == before.fingerprint
    for key, value in (("TEST.FLIP.ENABLED", True), ("INPUT.SIZE_TEST", [16, 16]), ("MODEL.HEADS.NECK_FEAT", "after")):
        with pytest.raises(ConfigError, match=rf"into which {key} went as it was: export it anew"):
            open_embedder(exported, options=[key, value])
    with pytest.raises(ValueError, match="unknown metric"):
        open_embedder(exported, options=["TEST.METRIC", "manhattan"])
    with pytest.raises(ConfigError, match="leave config out"):
        open_embedder(exported, config="Market1501/bagtricks_R50")


def test_exported_files_that_are_not_there_or_not_ours(exported: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no exported model .*none\.onnx"):
        open_embedder(exported.with_name("none.onnx"))
    exported.write_text("{}")
    with pytest.raises(CardError, match="does not say how its model embeds"):
        open_embedder(exported)
