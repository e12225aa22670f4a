"""Super-network, memories, split and one step of the search, each against the paper's formulas as loops."""

import itertools
import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fastreid_ext.config import ConfigError
from fastreid_ext.data.build import TrainData
from fastreid_ext.data.sample import Sample
from fastreid_ext.projects.msinet import INTERACTIONS
from fastreid_ext.projects.msinet.search import (
    ClusterMemory,
    MixedInteraction,
    MSISupernet,
    SearchNetwork,
    SoftmaxSupervision,
    TwinsContrastive,
    overlap_split,
)
from fastreid_ext.projects.msinet.search.loop import SearchLoop
from fastreid_ext.projects.msinet.search.plot import plot_history
from fastreid_ext.registry import RegistryError
from fastreid_ext.utils.events import EventStorage

SMALL = (8, 16, 24, 32)


def test_mixed_interaction_is_eq_1() -> None:
    letters = ["G", "N", "A", "E"]
    mixed = MixedInteraction(8, operations=letters).double()
    nn.init.normal_(mixed.architecture)
    x1, x2 = torch.randn(2, 3, 8, 4, 2, dtype=torch.float64)
    exponents = [math.exp(value) for value in mixed.architecture.tolist()]
    expected = [torch.zeros_like(x1), torch.zeros_like(x2)]
    for operation, exponent in zip(mixed.operations, exponents, strict=True):
        for branch, output in enumerate(operation(x1, x2)):
            expected[branch] += exponent / sum(exponents) * output
    for actual, reference in zip(mixed(x1, x2), expected, strict=True):
        torch.testing.assert_close(actual, reference, rtol=0, atol=1e-12)


def test_supernet_has_twelve_layers_of_all_registered_operations() -> None:
    supernet = MSISupernet(channels=SMALL)
    assert supernet.operations == INTERACTIONS.names() == ["A", "E", "G", "N"]
    weights = supernet.architecture_weights()
    assert weights.shape == (12, 4)
    torch.testing.assert_close(weights.sum(1), torch.ones(12))
    logits = torch.stack(supernet.architecture_parameters())
    assert 0 < logits.std() < 3e-3
    assert supernet(torch.rand(2, 3, 32, 16)).shape == (2, 32, 2, 1)


def test_genotype_is_the_heaviest_operation_of_each_layer() -> None:
    supernet = MSISupernet(operations=["N", "G", "E"], channels=SMALL)
    for layer, logits in enumerate(supernet.architecture_parameters()):
        logits.data = torch.tensor([0.0, 1.0, 2.0]).roll(layer)
    assert supernet.genotype() == "ENGENGENGENG"


def test_a_new_operation_is_one_registered_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INTERACTIONS, "_entries", dict(INTERACTIONS._entries))
    monkeypatch.setattr(INTERACTIONS, "_names", dict(INTERACTIONS._names))

    @INTERACTIONS.register("M")
    class Mean(nn.Module):
        """Mean of the branches."""

        def __init__(self, channels: int) -> None:
            super().__init__()

        def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
            return (x1 + x2) / 2, (x1 + x2) / 2

    supernet = MSISupernet(channels=SMALL)
    assert supernet.operations == ["A", "E", "G", "M", "N"]
    assert supernet.architecture_weights().shape == (12, 5)
    assert any(isinstance(module, Mean) for module in supernet.modules())


@pytest.mark.parametrize("letters", [["N"], ["N", "N"]])
def test_a_space_without_a_choice_is_refused(letters: list[str]) -> None:
    with pytest.raises(ValueError, match="leaves no choice"):
        MSISupernet(operations=letters)
    with pytest.raises(RegistryError, match="unknown MSINet interaction 'Z'"):
        MSISupernet(operations=["N", "Z"])


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def memory_loss(features: Tensor, pids: Tensor, centroids: Tensor, temperature: float) -> Tensor:
    """Eq. 2, a feature and an identity at a time."""
    total = torch.zeros((), dtype=features.dtype)
    for feature, pid in zip(features, pids.tolist(), strict=True):
        exponents = [torch.exp(unit(feature) @ centroid / temperature) for centroid in centroids]
        total = total - torch.log(exponents[pid] / sum(exponents))
    return total / len(features)


def memory_update(features: Tensor, pids: Tensor, centroids: Tensor, momentum: float) -> Tensor:
    """Eq. 3, a feature at a time."""
    centroids = centroids.clone()
    for feature, pid in zip(features, pids.tolist(), strict=True):
        centroids[pid] = momentum * centroids[pid] + (1 - momentum) * unit(feature)
    for pid in set(pids.tolist()):
        centroids[pid] = unit(centroids[pid])
    return centroids


@pytest.mark.parametrize("momentum", [0.0, 0.2, 1.0])
def test_memory_equals_loops(momentum: float) -> None:
    memory = ClusterMemory(5, 7, temperature=0.05, momentum=momentum).double()
    features, pids = torch.randn(40, 7, dtype=torch.float64), torch.arange(40) % 5
    memory.initialise(features, pids)
    for pid in range(5):
        mean = sum(unit(feature) for feature in features[pids == pid]) / 8
        torch.testing.assert_close(memory.centroids[pid], unit(mean), rtol=0, atol=1e-12)
    batch, labels = (
        torch.randn(9, 7, dtype=torch.float64, requires_grad=True),
        torch.tensor([3, 3, 0, 1, 3, 1, 0, 3, 1]),
    )
    loss, before = memory(batch, labels), memory.centroids.clone()
    reference = memory_loss(batch, labels, before, 0.05)
    torch.testing.assert_close(loss, reference, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, batch, retain_graph=True)[0] for value in (loss, reference)), rtol=0, atol=1e-12
    )
    memory.update(batch.detach(), labels)
    expected = memory_update(batch.detach(), labels, before, momentum)
    torch.testing.assert_close(memory.centroids, expected, rtol=0, atol=1e-12)
    # Nothing of these was seen.
    assert torch.equal(memory.centroids[[2, 4]], before[[2, 4]])
    assert torch.autograd.gradcheck(lambda x: memory(x, labels), batch)


def test_memory_in_half_precision_empty_and_without_an_image_of_an_identity() -> None:
    memory = ClusterMemory(3, 4)
    memory.initialise(torch.eye(4)[:2], torch.tensor([0, 2]))
    assert torch.equal(memory.centroids[1], torch.zeros(4))
    for dtype in (torch.float16, torch.bfloat16):
        features = (100 * torch.randn(6, 4)).to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = memory(features, torch.arange(6) % 3)
        loss.backward()
        assert loss.dtype == torch.float32 and torch.isfinite(loss) and torch.isfinite(features.grad).all()
        memory.update(features.detach(), torch.arange(6) % 3)
    empty = torch.empty(0, 4, requires_grad=True)
    memory(empty, torch.empty(0, dtype=torch.long)).backward()
    memory.update(empty.detach(), torch.empty(0, dtype=torch.long))
    assert torch.isfinite(memory.centroids).all()
    with pytest.raises(ValueError, match="temperature above 0"):
        ClusterMemory(3, 4, temperature=0)


def data(images_of: list[int]) -> TrainData:
    samples = [Sample(f"{pid}_{n}", pid, n % 3) for pid, count in enumerate(images_of) for n in range(count)]
    return TrainData(samples, len(images_of), 3, [])


@settings(deadline=None, max_examples=60)
@given(st.integers(10, 60), st.integers(1, 100), st.integers(1, 100), st.integers(0, 9))
def test_split_keeps_every_image_once(identities: int, train_share: int, validation_share: int, seed: int) -> None:
    everything = data([2 + pid % 5 for pid in range(identities)])
    ratio = [train_share, validation_share]
    in_validation = round(identities * validation_share / 100)
    both = round(identities * (sum(ratio) - 100) / 100)
    if sum(ratio) < 100 or not in_validation:
        with pytest.raises(ConfigError, match=r"SEARCH.ARCH.SPLIT"):
            overlap_split(everything, ratio, seed=seed)
        return
    try:
        train, validation = overlap_split(everything, ratio, seed=seed)
    except ConfigError as error:
        assert "leaves no identity for the train split" in str(error) and in_validation == identities
        return
    paths = [sample.path for part in (train, validation) for sample in part.samples]
    assert sorted(paths) == sorted(sample.path for sample in everything.samples)
    assert validation.num_classes == in_validation
    assert abs(train.num_classes - identities * train_share / 100) <= 1
    for part in (train, validation):
        assert {sample.pid for sample in part.samples} == set(range(part.num_classes))
        # One number, one identity.
        known = {(sample.pid, sample.path.split("_")[0]) for sample in part.samples}
        assert len(known) == part.num_classes
    halves = [{sample.path.split("_")[0]: 0 for sample in part.samples} for part in (train, validation)]
    for half, part in zip(halves, (train, validation), strict=True):
        for sample in part.samples:
            half[sample.path.split("_")[0]] += 1
    assert len(halves[0].keys() & halves[1].keys()) == min(both, in_validation)
    for pid in halves[0].keys() & halves[1].keys():
        assert 0 <= halves[0][pid] - halves[1][pid] <= 1
    again = overlap_split(everything, ratio, seed=seed)
    assert again[0].samples == train.samples


@pytest.mark.parametrize("ratio", [[90, 10], [75, 25], [67, 33], [50, 50], [33, 67], [25, 75], [10, 90]])
def test_splits_without_overlap_share_nobody(ratio: list[int]) -> None:
    for number in range(12, 120):
        train, validation = overlap_split(data([2] * number), ratio)
        assert train.num_classes + validation.num_classes == number


def test_splits_are_drawn_from_the_seed() -> None:
    identities = [
        frozenset(sample.path.split("_")[0] for sample in overlap_split(data([4] * 30), [50, 50], seed=seed)[0].samples)
        for seed in range(4)
    ]
    images = {
        frozenset(sample.path for sample in overlap_split(data([9]), [100, 100], seed=seed)[0].samples)
        for seed in range(4)
    }
    assert len(set(identities)) == 4 and len(images) > 1


def test_sixty_eighty_is_a_fifth_two_fifths_two_fifths() -> None:
    train, validation = overlap_split(data([4] * 10), [60, 80])
    ids = [{sample.path.split("_")[0] for sample in part.samples} for part in (train, validation)]
    assert (len(ids[0] - ids[1]), len(ids[0] & ids[1]), len(ids[1] - ids[0])) == (2, 4, 4)


@pytest.mark.parametrize(
    ("images", "ratio", "message"),
    [
        ([4] * 10, [100, 0], "each above 0"),
        ([4] * 10, [60], "percentages of identities"),
        ([4] * 10, [60, 30], "leaves 10 % of the identities unused"),
        ([4] * 4, [97, 3], "leaves no identity for the validation split: there are 4"),
        ([4] * 4, [3, 97], "leaves no identity for the train split"),
        ([1] * 10, [100, 100], "shares 10 identities, but only 0 have two images"),
    ],
)
def test_splits_that_cannot_be(images: list[int], ratio: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        overlap_split(data(images), ratio)


def test_one_classifier_needs_the_same_identities() -> None:
    with pytest.raises(ValueError, match=r"SEARCH.ARCH.SPLIT to \[100, 100\]"):
        SoftmaxSupervision(4, {"train": 3, "validation": 4})


def network() -> SearchNetwork:
    supervision = TwinsContrastive(SMALL[-1], {"train": 3, "validation": 4})
    model = SearchNetwork(backbone=MSISupernet(channels=SMALL), supervision=supervision).double()
    for split, count in (("train", 3), ("validation", 4)):
        supervision.initialise(torch.randn(12, 32, dtype=torch.float64), torch.arange(12) % count, split)
    return model


def test_a_step_equals_the_papers_alternation() -> None:
    model = network()
    batches = {
        "train": {"images": torch.rand(6, 3, 32, 16, dtype=torch.float64), "targets": torch.tensor([0, 0, 1, 1, 2, 2])},
        "validation": {"images": torch.rand(4, 3, 32, 16, dtype=torch.float64), "targets": torch.tensor([0, 3, 3, 1])},
    }
    by_hand = deepcopy(model)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    architecture = model.backbone.architecture_parameters()
    loop = SearchLoop(
        model, itertools.repeat(batches["train"]), torch.optim.SGD(weights, lr=0.1), iters_per_epoch=1, max_epochs=1
    )
    adam = torch.optim.Adam(architecture, lr=0.02, betas=(0.5, 0.999), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1.0)
    loop.learn_architecture(model, itertools.repeat(batches["validation"]), adam, schedule)
    loop.train()

    by_hand.train()
    alphas = {id(parameter) for parameter in by_hand.backbone.architecture_parameters()}
    own = [p for p in by_hand.parameters() if id(p) not in alphas and p is not by_hand.heads.norm.bias]
    memory = by_hand.supervision.memory("train")
    features = by_hand.heads(by_hand.backbone(batches["train"]["images"]))
    loss = memory_loss(features, batches["train"]["targets"], memory.centroids, 0.05)
    for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
        parameter.data -= 0.1 * gradient
    memory.centroids = memory_update(features.detach(), batches["train"]["targets"], memory.centroids, 0.2)
    memory = by_hand.supervision.memory("validation")
    alpha = by_hand.backbone.architecture_parameters()
    for parameter in alpha:
        parameter.requires_grad_(True)
    features = by_hand.heads(by_hand.backbone(batches["validation"]["images"]))
    loss = memory_loss(features, batches["validation"]["targets"], memory.centroids, 0.05)
    for parameter, gradient in zip(alpha, torch.autograd.grad(loss, alpha), strict=True):
        decayed = gradient + 1e-3 * parameter.data
        # The first step of Adam, whose means are corrected to the gradient and its square.
        parameter.data -= 0.02 * decayed / (decayed.abs() + 1e-8)
    memory.centroids = memory_update(features.detach(), batches["validation"]["targets"], memory.centroids, 0.2)

    expected = by_hand.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(
            value, expected[name], rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )
    moved = torch.stack(architecture) - torch.stack(network().backbone.architecture_parameters())
    assert moved.abs().max() > 0.01


def test_weights_and_architecture_learn_apart() -> None:
    model = network()
    batch = {"images": torch.rand(4, 3, 32, 16, dtype=torch.float64), "targets": torch.tensor([0, 1, 2, 1])}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    (loss,) = model(batch).values()
    loss.backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trainable
    assert not any("architecture" in name for name in trainable)
    model.zero_grad()
    with model.learning_architecture():
        assert model.split == "validation"
        (loss,) = model(batch).values()
        loss.backward()
    learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert len(learned) == 12 and all(name.endswith(".architecture") for name in learned)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trainable


def test_search_network_in_evaluation_embeds() -> None:
    model = network().eval()
    with EventStorage():
        assert model(torch.rand(2, 3, 32, 16)).shape == (2, 32)
    with pytest.raises(ValueError, match="needs a batch with 'images' and 'targets'"):
        model.train()(torch.rand(2, 3, 32, 16))


def test_picture_has_a_plot_a_layer(tmp_path: Path) -> None:
    from PIL import Image

    weights = torch.rand(3, 5, 2).softmax(2).tolist()
    plot_history([0, 1, 2], weights, ["G", "N"], tmp_path / "few.png")
    plot_history([0, 1, 2], torch.rand(3, 12, 4).tolist(), list("AEGN"), tmp_path / "all.png")
    sizes = [Image.open(tmp_path / name).size for name in ("few.png", "all.png")]
    # Two and three rows of four.
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] < sizes[1][1]
