"""Losses of pytorch-metric-learning with a miner, a distance, a reducer or a regulariser, named in the config."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fastreid_ext.config import ConfigError, get_cfg
from fastreid_ext.modeling.losses import MetricLearningLoss, build_criterion
from fastreid_ext.modeling.losses.criterion import Criterion
from fastreid_ext.registry import RegistryError

pytest.importorskip("pytorch_metric_learning")

PIDS = torch.arange(24) % 6
EASY_POSITIVE = "pml:NTXentLoss:temperature=0.1,miner=BatchEasyHardMiner,miner_pos_strategy=easy,miner_neg_strategy="
MULTI_SIMILARITY = "pml:MultiSimilarityLoss:alpha=2,beta=50,base=0.5"


def criterion(*names: str) -> Criterion:
    cfg = get_cfg()
    cfg.MODEL.LOSSES.NAME = names
    return build_criterion(cfg)


def loss_of(name: str, embeddings: Tensor, pids: Tensor = PIDS) -> Tensor:
    (loss,) = criterion(name)({"features": embeddings}, pids).values()
    return loss


def embeddings_of(dim: int = 4) -> Tensor:
    return torch.randn(len(PIDS), dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def similarities(embeddings: Tensor) -> list[list[float]]:
    unit = normalize(embeddings)
    return (unit @ unit.T).tolist()


def split(row: list[float], anchor: int) -> tuple[list[float], list[float]]:
    positives = [s for i, s in enumerate(row) if i != anchor and PIDS[i] == PIDS[anchor]]
    return positives, [s for i, s in enumerate(row) if PIDS[i] != PIDS[anchor]]


@pytest.mark.parametrize("negatives", ["semihard", "hard", "all"])
def test_easy_positive_loss_equals_a_loop(negatives: str) -> None:
    losses = []
    for anchor, row in enumerate(similarities(embeddings_of())):
        of_positives, of_negatives = split(row, anchor)
        easy = max(of_positives)
        if negatives == "semihard":
            of_negatives = [s for s in of_negatives if s < easy]
        if negatives != "all":
            of_negatives = [max(of_negatives)] if of_negatives else []
        if of_negatives:
            losses.append(math.log1p(sum(math.exp((s - easy) / 0.1) for s in of_negatives)))
    found = loss_of(EASY_POSITIVE + negatives, embeddings_of())
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


def test_multi_similarity_loss_with_its_mining_equals_a_loop() -> None:
    embeddings = embeddings_of() + embeddings_of()[PIDS]
    total, left_out = 0.0, 0
    for anchor, row in enumerate(similarities(embeddings)):
        of_positives, of_negatives = split(row, anchor)
        positives = [s for s in of_positives if s - 0.1 < max(of_negatives)]
        negatives = [s for s in of_negatives if s + 0.1 > min(of_positives)]
        left_out += len(of_positives) + len(of_negatives) - len(positives) - len(negatives)
        total += math.log1p(sum(math.exp(-2 * (s - 0.5)) for s in positives)) / 2
        total += math.log1p(sum(math.exp(50 * (s - 0.5)) for s in negatives)) / 50
    found = loss_of(f"{MULTI_SIMILARITY},miner=MultiSimilarityMiner,miner_epsilon=0.1", embeddings)
    assert left_out and found.item() == pytest.approx(total / len(PIDS), rel=1e-9)
    assert found < loss_of(MULTI_SIMILARITY, embeddings)


def test_distance_and_regulariser_equal_a_loop() -> None:
    embeddings = embeddings_of()
    name = (
        "pml:LiftedStructureLoss:neg_margin=1,distance=LpDistance,distance_normalize_embeddings=False,"
        "embedding_regularizer=LpRegularizer,embedding_regularizer_power=2,embedding_reg_weight=0.25"
    )
    distances = torch.cdist(embeddings, embeddings).tolist()
    losses = []
    for a, of_anchor in enumerate(distances):
        for p, of_positive in enumerate(distances):
            if a != p and PIDS[a] == PIDS[p]:
                negatives = [math.exp(1 - d) for row in (of_anchor, of_positive) for i, d in enumerate(row)
                             if PIDS[i] != PIDS[a]]  # fmt: skip
                losses.append(max(0, math.log(sum(negatives)) + of_anchor[p]) ** 2 / 2)
    expected = sum(losses) / len(losses) + 0.25 * embeddings.square().sum(1).mean().item()
    assert loss_of(name, embeddings).item() == pytest.approx(expected, rel=1e-6)


def test_reducer_is_taken() -> None:
    mean = loss_of(MULTI_SIMILARITY, embeddings_of())
    torch.testing.assert_close(loss_of(f"{MULTI_SIMILARITY},reducer=SumReducer", embeddings_of()), mean * len(PIDS))


def test_parts_do_not_change_the_name_in_logs() -> None:
    outputs = {"features": embeddings_of()}
    assert list(criterion(f"{MULTI_SIMILARITY},miner=MultiSimilarityMiner")(outputs, PIDS)) == [
        "loss_pml_multi_similarity"
    ]


def test_no_pairs_left_is_zero_with_a_graph() -> None:
    embeddings = torch.eye(4, requires_grad=True)
    pids = torch.tensor([0, 0, 1, 1])
    # All cosines are alike, so that no negative is further away than a positive.
    loss = loss_of(EASY_POSITIVE + "semihard", embeddings, pids)
    loss.backward()
    assert loss == 0 and embeddings.grad is not None and not embeddings.grad.any()


def test_faults_are_explained() -> None:
    with pytest.raises(RegistryError, match=r"no miner 'MultiSimilarMiner'.*Did you mean MultiSimilarityMiner"):
        criterion(f"{MULTI_SIMILARITY},miner=MultiSimilarMiner")
    with pytest.raises(RegistryError, match=r"no embedding regularizer 'L2'.*It has: .*LpRegularizer"):
        criterion(f"{MULTI_SIMILARITY},embedding_regularizer=L2")
    with pytest.raises(ConfigError, match=r"miner=MultiSimilarityMiner of pml:Multi.*eps.*MultiSimilarityMiner\(eps"):
        criterion(f"{MULTI_SIMILARITY},miner=MultiSimilarityMiner,miner_eps=0.1")
    with pytest.raises(ConfigError, match="option miner_epsilon of a miner, but none is named: add miner="):
        criterion(f"{MULTI_SIMILARITY},miner_epsilon=0.1")
    with pytest.raises(ConfigError, match="pml:FastAPLoss cannot be made"):
        criterion("pml:FastAPLoss:distance=CosineSimilarity")


def test_scale_is_the_weight_and_own_scale_the_librarys() -> None:
    loss = MetricLearningLoss("ArcFaceLoss", scale=0.5, own_scale=30, num_classes=3, embedding_size=4)
    assert (loss.scale(get_cfg()), loss.loss.scale) == (0.5, 30)


def test_parts_are_named() -> None:
    with pytest.raises(RegistryError, match="no distance '3'"):
        MetricLearningLoss("ContrastiveLoss", distance=3)
    with pytest.raises(RegistryError, match="no weight regularizer 'LpRegulariser'"):
        MetricLearningLoss("ProxyAnchorLoss", num_classes=3, embedding_size=4, weight_regularizer="LpRegulariser")
