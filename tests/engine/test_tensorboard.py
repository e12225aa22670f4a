"""What TensorBoard is shown, and that nothing of it changes a training."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.hooks.batch_images import batch_picture

MakeCfg = Callable[..., CfgNode]


def trained(cfg: CfgNode, *, resume: bool | str = False) -> dict[str, Any]:
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    state: dict[str, Any] = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    return state


def events(cfg: CfgNode) -> EventAccumulator:
    return EventAccumulator(cfg.OUTPUT_DIR, size_guidance={"images": 0, "scalars": 0}).Reload()


def picture_steps(cfg: CfgNode) -> Sequence[int]:
    return [event.step for event in events(cfg).Images("batch")]


def test_pictures_change_nothing_bit_for_bit(make_cfg: MakeCfg) -> None:
    every = {"TENSORBOARD.IMAGES_PERIOD": 1, "TENSORBOARD.PROJECTOR": True}
    shown = trained(make_cfg("shown", **every))
    hidden = trained(make_cfg("hidden", **{"TENSORBOARD.IMAGES": 0}))
    assert shown["model"].keys() == hidden["model"].keys()
    assert all(torch.equal(value, hidden["model"][name]) for name, value in shown["model"].items())
    assert all(torch.equal(a["torch"], b["torch"]) for a, b in zip(shown["rng"], hidden["rng"], strict=True))


def test_scalars_stand_in_groups_at_their_steps(make_cfg: MakeCfg) -> None:
    cfg = make_cfg()
    trained(cfg)
    found = events(cfg)
    tags = found.Tags()
    groups = {tag.partition("/")[0] for tag in tags["scalars"]}
    # The data set is one heading, though its name has slashes.
    assert groups == {"loss", "time", "lr", cfg.DATASETS.TESTS[0].replace("/", "_")}
    assert {"loss/total", "loss/cls", "loss/triplet", "lr", "time/step", "time/images_per_second"} <= set(
        tags["scalars"]
    )
    steps = [event.step for event in found.Scalars("loss/total")]
    assert steps == sorted(set(steps)) and steps[-1] == steps[0] + 2 * (len(steps) - 1)
    assert tags["images"] == ["batch"] and picture_steps(cfg) == [0]


def test_a_resumed_run_doubles_no_picture(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(**{"TENSORBOARD.IMAGES_PERIOD": 1})
    trained(cfg)
    before = picture_steps(cfg)
    trained(cfg, resume=str(Path(cfg.OUTPUT_DIR) / "model_0001.pth"))
    assert picture_steps(cfg) == before and len(before) == 2


def test_pictures_are_off_where_nobody_wants_them(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(**{"TENSORBOARD.IMAGES": 0, "SOLVER.MAX_EPOCH": 1})
    trained(cfg)
    assert not events(cfg).Tags()["images"] and not (Path(cfg.OUTPUT_DIR) / "projector").exists()


def test_the_picture_has_the_images_that_went_in() -> None:
    levels = torch.tensor([10.0, 200.0])[:, None, None, None].expand(2, 3, 64, 32)
    picture = batch_picture(levels, [7, 8])
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    # Enlarged to 128 rows, in a row, a gap of 4 pixels between them.
    assert (picture[10:100, 10:60] == 10).all() and (picture[10:100, 80:130] == 200).all()
    # Captions.
    assert picture[132:148].min() < 128


def test_more_images_than_a_row_holds() -> None:
    picture = batch_picture(torch.full((9, 3, 128, 64), 50.0), list(range(9)))
    assert (picture[4 + 148 : 4 + 148 + 128, 4 : 4 + 64] == 50).all()
    assert (picture[4 + 148 :, 4 + 64 + 4 :] == 255).all()


def test_projector_gets_embeddings_thumbnails_and_identities(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(**{"TENSORBOARD.PROJECTOR": True, "TENSORBOARD.PROJECTOR_IMAGES": 10, "SOLVER.MAX_EPOCH": 1})
    folder = Path(cfg.OUTPUT_DIR) / "projector"
    folder.mkdir(parents=True)
    (folder / "tensors.tsv").write_text("of an earlier run")
    trained(cfg)
    (config,) = folder.glob("projector_config.pbtxt")
    (tensors,), (metadata,), (sprite,) = (folder.rglob(f"{name}") for name in ("tensors.tsv", "metadata.tsv", "*.png"))
    rows = [line.split("\t") for line in metadata.read_text().splitlines()]
    assert rows[0] == ["pid", "camid", "image"] and len(rows) == 11
    # The file's own name says whom it shows.
    assert all(int(image[:4]) == int(pid) for pid, _, image in rows[1:])
    embeddings = np.loadtxt(tensors)
    assert len(embeddings) == 10 and np.isfinite(embeddings).all()
    assert Image.open(sprite).size == (4 * 64, 4 * 64)
    assert "metadata.tsv" in config.read_text() and "sprite.png" in config.read_text()


def test_a_projector_without_images_to_show_costs_no_results(
    make_cfg: MakeCfg, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_cfg(**{"TENSORBOARD.PROJECTOR": True, "SOLVER.MAX_EPOCH": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("fastreid_ext.engine.hooks.projector.SummaryWriter", full)
    trained(cfg)
    assert (Path(cfg.OUTPUT_DIR) / "results.json").is_file()
    assert "no embeddings written: No space left on device" in caplog.text


@pytest.mark.parametrize(
    ("key", "value"), [("IMAGES", -1), ("IMAGES_PERIOD", -1), ("PROJECTOR_IMAGES", 3), ("PROJECTOR_IMAGES", 20000)]
)
def test_numbers_out_of_range_are_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"TENSORBOARD.{key} is {value}"):
        load_config("", [f"TENSORBOARD.{key}", value])
