"""Our parts in FastReID's own config, registries and trainer."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastreid.config import get_cfg as original_defaults
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.meta_arch import Baseline as OriginalBaseline
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.events import EventStorage
from fastreid.utils.precision_bn import update_bn_stats
from torch import Tensor, nn

from fastreid_ext.compat import fastreid as ext
from fastreid_ext.compat.inside_datasets import our_dataset
from fastreid_ext.compat.inside_models import ExtBaseline
from fastreid_ext.config import ConfigError, get_cfg
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample
from fastreid_ext.engine.checkpoint import load_weights, read_checkpoint
from fastreid_ext.modeling import META_ARCHS, build_model
from fastreid_ext.projects.moreid import MoReID
from fastreid_ext.registry import RegistryError

PROJECTS = ("adasp", "gms", "grouploss", "moreid", "msinet")
CLASSES, IDENTITIES, SHOTS = 12, 3, 4

SHARED = """
MODEL:
  DEVICE: cpu
  META_ARCHITECTURE: ExtBaseline
  BACKBONE: {DEPTH: 18x, FEAT_DIM: 512}
  HEADS: {NUM_CLASSES: 12, WITH_BNNECK: True}
INPUT: {SIZE_TRAIN: [48, 16]}
DATALOADER: {NUM_INSTANCE: 4}
SOLVER: {OPT: Adam, BASE_LR: 0.0001, IMS_PER_BATCH: 12}
"""
CONFIGS = {
    "msinet": "MODEL: {BACKBONE: {NAME: MSINet}}",
    "msinet-sam": """
MODEL:
  BACKBONE: {NAME: MSINet}
  HEADS: {NAME: TwoBranchHead}
  LOSSES: {NAME: ["CrossEntropyLoss", "TripletLoss", "SpatialAlignmentLoss"]}
""",
    "gms": "MODEL: {HEADS: {NAME: ExtEmbeddingHead, CLS_LAYER: GMSSoftmax}, GMS: {PRESET: gms-b}}",
    "adasp": """
PROJECTS: ["adasp"]
MODEL: {LOSSES: {NAME: ["CrossEntropyLoss", "AdaSPLoss"], ADASP: {TEMPERATURE: 0.05, SCALE: 0.1}}}
""",
    "he": "MODEL: {HEADS: {NECK_FEAT: after}, LOSSES: {NAME: ['HardDistanceElasticLoss']}}",
    "grouploss": "MODEL: {LOSSES: {NAME: ['CrossEntropyLoss', 'GroupLoss'], GROUP: {STEPS: 1}}}",
    "moreid": """
MODEL:
  META_ARCHITECTURE: MoReID
  HEADS: {NAME: ExtEmbeddingHead}
  LOSSES: {NAME: ["CrossEntropyLoss", "HardDistanceElasticLoss"]}
  MOREID: {MOMENTUM: 0.5, DICTIONARY_SIZE: 32}
""",
    "moreid-head-of-theirs": "MODEL: {META_ARCHITECTURE: MoReID, LOSSES: {NAME: ['TripletLoss', 'CrossEntropyLoss']}}",
    "mgn": "MODEL: {META_ARCHITECTURE: ExtMGN, HEADS: {EMBEDDING_DIM: 8}}",
    "moco": "MODEL: {META_ARCHITECTURE: ExtMoCo, QUEUE_SIZE: 32}",
    "original-baseline": "MODEL: {META_ARCHITECTURE: Baseline, BACKBONE: {NAME: MSINet}}",
    "original-baseline-our-head": "MODEL: {META_ARCHITECTURE: Baseline, HEADS: {NAME: ExtEmbeddingHead}}",
    "all": """
PROJECTS: ["adasp", "gms", "grouploss", "moreid", "msinet"]
MODEL:
  META_ARCHITECTURE: MoReID
  BACKBONE: {NAME: MSINet}
  HEADS: {NAME: ExtEmbeddingHead, CLS_LAYER: GMSSoftmax}
  LOSSES:
    NAME: ["CrossEntropyLoss", "AdaSPLoss", "HardDistanceElasticLoss", "GroupLoss", "SpatialAlignmentLoss"]
  MOREID: {DICTIONARY_SIZE: 32}
""",
}
LOSSES = {
    "msinet-sam": {"cls_global", "cls_local", "triplet_global", "triplet_local", "sam"},
    "adasp": {"cls", "adasp"},
    "grouploss": {"cls", "group"},
    "moreid": {"cls", "he"},
    "moreid-head-of-theirs": {"cls", "triplet"},
    "mgn": {f"cls_{branch}" for branch in ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33")},
    "moco": {"cls", "mb"},
    "all": {"cls", "adasp", "he", "group", "sam"},
}
"""Where there are several: FastReID logs a single one as the total only."""


@pytest.fixture
def storage() -> Iterator[EventStorage]:
    with EventStorage() as opened:
        yield opened


def merged(folder: Path, text: str, *projects: str) -> Any:
    """FastReID's config after its own files, of which the second names the first."""
    cfg = original_defaults()
    ext.register(cfg, *(projects or PROJECTS))
    (folder / "Base.yml").write_text(SHARED, encoding="utf-8")
    (folder / "run.yml").write_text(f"_BASE_: Base.yml\n{text}", encoding="utf-8")
    cfg.merge_from_file(str(folder / "run.yml"))
    cfg.OUTPUT_DIR = str(folder)
    cfg.freeze()
    return cfg


def batch() -> dict[str, Any]:
    """As FastReID's loader gives it."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (IDENTITIES * SHOTS, 3, 48, 16), generator=generator).float()
    pids = torch.arange(IDENTITIES).repeat_interleave(SHOTS)
    return {"images": images, "targets": pids, "camids": torch.zeros_like(pids), "img_paths": ["a.jpg"] * len(pids)}


def stepper(cfg: Any) -> SimpleTrainer:
    """FastReID's inner trainer with FastReID's model and optimizer, on one batch for ever."""
    model = DefaultTrainer.build_model(cfg)
    optimizer, wrapper = DefaultTrainer.build_optimizer(cfg, model)
    trainer = SimpleTrainer(model, [batch() for _ in range(4)], optimizer, wrapper)
    trainer.iter = 0
    return trainer


@pytest.mark.parametrize("name", CONFIGS)
def test_trains_inside_fastreid(name: str, tmp_path: Path, storage: EventStorage) -> None:
    trainer = stepper(merged(tmp_path, CONFIGS[name]))
    model = trainer.model
    before = copy.deepcopy(model.state_dict())
    trainer.run_step()
    losses = {key.removeprefix("loss_") for key in storage.latest() if key.startswith("loss_")}
    assert losses == LOSSES.get(name, set())
    assert storage.history("total_loss").latest() > 0 and 0 <= storage.history("cls_accuracy").latest() <= 1
    for key, weight in model.named_parameters():
        if weight.requires_grad and not (name == "he" and key == "heads.weight"):
            assert weight.grad is not None and torch.isfinite(weight.grad).all() and weight.grad.any(), key
            assert not torch.equal(weight, before[key]), key
    images = batch()["images"]
    with torch.no_grad():
        embeddings = model.eval()({"images": images})
    assert embeddings.shape[0] == len(images) and torch.isfinite(embeddings).all() and embeddings.std() > 0
    assert model.device == torch.device("cpu")


@pytest.mark.parametrize("name", ["adasp", "moreid"])
def test_batches_are_left_as_they_are(name: str, tmp_path: Path) -> None:
    model = DefaultTrainer.build_model(merged(tmp_path, CONFIGS[name]))
    given = batch()
    model.train()(given)
    model.eval()(given)
    assert torch.equal(given["images"], batch()["images"])


def test_without_our_help_fastreid_does_not_train(tmp_path: Path, storage: EventStorage) -> None:
    trainer = stepper(merged(tmp_path, CONFIGS["adasp"]))
    del trainer.optimizer.zero_grad
    before = copy.deepcopy(trainer.model.backbone.conv1.weight)
    trainer.run_step()
    assert torch.equal(trainer.model.backbone.conv1.weight, before)


def test_losses_are_those_of_our_own_model(tmp_path: Path, storage: EventStorage) -> None:
    model = DefaultTrainer.build_model(merged(tmp_path, CONFIGS["adasp"])).train()
    options = {
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.DEPTH": "18x",
        "MODEL.HEADS.NUM_CLASSES": CLASSES,
        "MODEL.HEADS.WITH_BNNECK": True,
        "MODEL.LOSSES.NAME": ["CrossEntropyLoss", "AdaSPLoss"],
        "MODEL.LOSSES.ADASP.TEMPERATURE": 0.05,
        "MODEL.LOSSES.ADASP.SCALE": 0.1,
    }
    cfg = get_cfg(["adasp"])
    cfg.merge_from_list([item for pair in options.items() for item in pair])
    ours = build_model(cfg).train()
    ours.load_state_dict(model.state_dict())
    expected, found = ours(batch()), model(batch())
    assert expected.keys() == found.keys()
    for key in expected:
        torch.testing.assert_close(found[key], expected[key])


@pytest.mark.parametrize("name", ["msinet-sam", "moreid", "all"])
def test_checkpoints_of_fastreid_load_into_our_models(name: str, tmp_path: Path, storage: EventStorage) -> None:
    cfg = merged(tmp_path, CONFIGS[name])
    trainer = stepper(cfg)
    trainer.run_step()
    Checkpointer(trainer.model, str(tmp_path)).save("model_final")
    own = get_cfg(PROJECTS)
    for key, value in own.leaves():
        *path, last = key.split(".")
        node, theirs = own, cfg
        for part in path:
            node, theirs = node[part], theirs[part]
        node[last] = theirs[last] if isinstance(theirs[last], type(value)) else value
    own.MODEL.META_ARCHITECTURE = cfg.MODEL.META_ARCHITECTURE.removeprefix("Ext")
    own.MODEL.HEADS.NAME = cfg.MODEL.HEADS.NAME.removeprefix("Ext")
    model = build_model(own)
    report = load_weights(model, read_checkpoint(tmp_path / "model_final.pth"))
    assert report.fits, report
    images = batch()["images"]
    with torch.no_grad():
        expected, found = trainer.model.eval()({"images": images}), model.eval()({"images": images})
    assert torch.equal(found, expected)


def follow(model: MoReID, momentum: float, before: Tensor) -> Tensor:
    return momentum * before + (1 - momentum) * model.backbone.conv1.weight


def test_momentum_encoder_follows_each_step(tmp_path: Path, storage: EventStorage) -> None:
    trainer = stepper(merged(tmp_path, CONFIGS["moreid"]))
    model = trainer.model
    assert isinstance(model, MoReID) and META_ARCHS.get("MoReID") is MoReID
    follower = model.momentum_encoder.backbone.conv1.weight
    start = follower.clone()
    trainer.run_step()
    expected = follow(model, 0.5, start)
    assert torch.equal(follower, start) and not torch.equal(expected, start)
    saved = model.state_dict()["momentum_encoder.backbone.conv1.weight"].clone()
    torch.testing.assert_close(saved, expected)
    model.state_dict()
    trainer.run_step()
    assert torch.equal(follower, saved)
    expected = follow(model, 0.5, saved)
    trainer.run_step()
    torch.testing.assert_close(follower, expected)
    assert int(model.dictionary.num_batches) == 3 and int(model.dictionary.filled) == 32


def test_momentum_rises_with_the_epochs(tmp_path: Path, storage: EventStorage) -> None:
    text = CONFIGS["moreid"].replace("MOMENTUM: 0.5", "MOMENTUM: 0.5, MOMENTUM_SCHEDULE: cosine")
    trainer = stepper(merged(tmp_path, f"{text}\nSOLVER: {{MAX_EPOCH: 4}}"))
    follower = trainer.model.momentum_encoder.backbone.conv1.weight
    start = follower.clone()
    storage.epoch = 2
    trainer.run_step()
    trainer.model.finish_step()
    torch.testing.assert_close(follower, follow(trainer.model, 0.75, start))


@pytest.mark.parametrize("name", ["grouploss", "moreid"])
def test_precise_batch_norm_of_fastreid(name: str, tmp_path: Path, storage: EventStorage) -> None:
    model = DefaultTrainer.build_model(merged(tmp_path, CONFIGS[name])).train()
    before = model.backbone.bn1.running_mean.clone()
    update_bn_stats(model, [batch(), batch()], 2)
    assert not torch.equal(model.backbone.bn1.running_mean, before)
    if isinstance(model, MoReID):
        assert int(model.dictionary.filled) == 0


def test_unknown_losses_are_errors(tmp_path: Path) -> None:
    cfg = merged(tmp_path, "MODEL: {LOSSES: {NAME: ['AdaSPLos']}}")
    with pytest.raises(RegistryError, match=r"Did you mean AdaSPLoss.*argument of fastreid_ext\.compat"):
        DefaultTrainer.build_model(cfg)


def test_widths_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    cfg = merged(tmp_path, "MODEL: {META_ARCHITECTURE: Baseline, BACKBONE: {NAME: MSINet, FEAT_DIM: 2048}}")
    with pytest.raises(ConfigError, match=r"FEAT_DIM.*set it to 512"):
        DefaultTrainer.build_model(cfg)


def test_keys_of_projects_that_were_not_registered_are_missed(tmp_path: Path) -> None:
    cfg = merged(tmp_path, "PROJECTS: ['adasp', 'gms']", "adasp")
    with pytest.raises(ConfigError, match=r"no MODEL\.\w*\.?GMS.*register"):
        DefaultTrainer.build_model(cfg)


def test_keys_that_fastreid_does_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = DefaultTrainer.build_model(merged(tmp_path, "SOLVER: {EMA: {ENABLED: True}, FIRST_STAGE: {EPOCHS: 2}}"))
    assert isinstance(model, ExtBaseline)
    assert "SOLVER.FIRST_STAGE.EPOCHS, SOLVER.EMA.ENABLED: they change nothing" in caplog.text


def test_fastreid_keeps_its_own(tmp_path: Path) -> None:
    cfg, theirs = original_defaults(), original_defaults()
    build = BACKBONE_REGISTRY.get("build_resnet_backbone")
    for _ in range(2):
        ext.register(cfg, *PROJECTS)
    assert BACKBONE_REGISTRY.get("build_resnet_backbone") is build
    assert type(cfg.MODEL.MSINET) is type(cfg) and list(cfg.PROJECTS) == list(PROJECTS)
    for key in theirs.MODEL:
        if not isinstance(theirs.MODEL[key], type(theirs)):
            assert cfg.MODEL[key] == theirs.MODEL[key]
    assert cfg.MODEL.HEADS.items() >= theirs.MODEL.HEADS.items()
    assert issubclass(ext.ExtBaseline, OriginalBaseline) and ext.ExtBaseline is ExtBaseline


class Widening(nn.Module):
    """A user's own backbone, which knows no `feature_dim`."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 7, 3)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.convolution(images)
        return features


@pytest.mark.parametrize("name", ["adasp", "moreid"])
def test_users_own_backbones_go_with_our_models(name: str, tmp_path: Path) -> None:
    def build_widening_backbone(cfg: Any) -> nn.Module:
        return Widening()

    if "build_widening_backbone" not in BACKBONE_REGISTRY._obj_map:
        BACKBONE_REGISTRY.register(build_widening_backbone)
    cfg = merged(tmp_path, CONFIGS[name]).clone()
    cfg.defrost()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_widening_backbone", "MODEL.BACKBONE.FEAT_DIM", 7])
    model = DefaultTrainer.build_model(cfg).train()
    assert isinstance(model.backbone, Widening) and all(torch.isfinite(loss) for loss in model(batch()).values())


def test_data_sets_are_lists_as_fastreid_takes_them(tmp_path: Path, market_folder: Any) -> None:
    ext.register(original_defaults())
    root = market_folder()
    for _ in range(2):
        ext.register_dataset("Mine", f"MarketLayout:{root}")
    data = DATASET_REGISTRY.get("Mine")(root=str(tmp_path))
    assert len(data.train) == 48 and len(data.query) == 8 and len(data.gallery) == 16
    path, pid, camid = data.train[0]
    assert Path(path).is_file() and isinstance(pid, str) and isinstance(camid, str)
    assert all(isinstance(number, int) for _, *numbers in data.query + data.gallery for number in numbers)
    data.show_train()
    data.show_test()
    combined = DATASET_REGISTRY.get("Mine")(root=str(tmp_path), combineall=True)
    assert len(combined.train) == 48 + 24 and combined.get_num_pids(combined.train) == 12
    with pytest.raises(ConfigError, match="Market1501 already"):
        ext.register_dataset("Market1501", f"MarketLayout:{root}")


def test_images_of_data_sets_without_cameras_are_of_cameras_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flowers(ReIDDataset):
        """Two flowers, each image a query for all others."""

        protocol = Protocol(camera_rule=False, query_is_gallery=True)

        def __init__(self, root: Path) -> None:
            super().__init__()
            self.query = self.gallery = [Sample(f"{index}.jpg", index % 2, 0) for index in range(4)]

    monkeypatch.setattr("fastreid_ext.compat.inside_datasets.build_dataset", lambda spec, root: Flowers(Path(root)))
    data = our_dataset("Flowers", "Flowers")(root=str(tmp_path))
    assert data.query == data.gallery == [("0.jpg", 0, 0), ("1.jpg", 1, 1), ("2.jpg", 0, 2), ("3.jpg", 1, 3)]
