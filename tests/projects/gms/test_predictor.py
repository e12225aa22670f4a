"""The one-dimensional ResNet-50, and what the predictor learns and refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import nn

from fastreid_ext.projects.gms.predictor import FitStoppedError, Predictor, PredictorError, as_input, resnet50_1d

Vector = NDArray[np.float64]


def small_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 8, 7, 4, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 1)
    )


def samples(number: int, points: int = 33) -> tuple[Vector, Vector]:
    """Lines t and n; the performance depends on the margin between them."""
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, points)
    margin, slope, log2_scale = rng.uniform(0, 1, number), rng.uniform(0.5, 1.5, number), rng.uniform(2, 8, number)
    target = slope[:, None] * x - margin[:, None]
    nontarget = np.broadcast_to(x, target.shape)
    return np.hstack([target, nontarget, log2_scale[:, None]]), 0.2 + 0.6 * margin


def small_predictor(**keywords: object) -> Predictor:
    return Predictor(network=small_network, **{"learning_rate": 0.05, "epochs": 30, **keywords})  # type: ignore[arg-type]


def parameters_by_formula() -> int:
    """Weights of kernels of width 1, 3 and 7, two numbers a channel of each normalisation, and the last layer."""
    total, channels = 3 * 64 * 7 + 2 * 64, 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        total += channels * 4 * width + 2 * 4 * width
        for _ in range(blocks):
            total += channels * width + 3 * width * width + width * 4 * width + 2 * (width + width + 4 * width)
            channels = 4 * width
    return total + 2048 + 1


def test_the_network_is_resnet_50_in_one_dimension() -> None:
    network = resnet50_1d()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters_by_formula()
    kinds = [type(module).__name__ for module in network.modules()]
    assert (kinds.count("Conv1d"), kinds.count("BatchNorm1d"), kinds.count("MaxPool1d")) == (53, 53, 1)
    assert not [kind for kind in kinds if kind.endswith("2d")]


def test_maps_have_the_lengths_of_resnet_50() -> None:
    network = resnet50_1d().eval()
    lengths: dict[str, tuple[int, ...]] = {}
    for name, module in network.named_children():
        module.register_forward_hook(lambda _, __, out, name=name: lengths.update({name: tuple(out.shape[1:])}))
    with torch.inference_mode():
        assert network(torch.randn(2, 3, 257)).shape == (2, 1)
    found = [lengths[name] for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool")]
    assert found == [(64, 129), (64, 65), (256, 65), (512, 33), (1024, 17), (2048, 9), (2048, 1)]


def test_weights_are_drawn_as_torchvision_draws_them() -> None:
    layer = resnet50_1d().get_submodule("layer3.1.conv2")
    assert isinstance(layer, nn.Conv1d) and layer.bias is None
    assert layer.weight.std().item() == pytest.approx((2 / (256 * 3)) ** 0.5, rel=0.02)
    norm = resnet50_1d().get_submodule("layer3.1.bn2")
    assert isinstance(norm, nn.BatchNorm1d) and norm.weight.eq(1).all() and norm.bias.eq(0).all()


def test_rows_are_target_nontarget_and_scale() -> None:
    vector = np.arange(515) / 100
    found = as_input(vector)
    assert found.shape == (3, 257) and found.dtype == torch.float32
    np.testing.assert_allclose(found[0], vector[:257], rtol=1e-6)
    np.testing.assert_allclose(found[1], vector[257:514], rtol=1e-6)
    np.testing.assert_allclose(found[2], np.full(257, 5.14), rtol=1e-6)
    torch.testing.assert_close(as_input(np.stack([vector, -vector]))[1], -found)


def test_wild_values_are_cut_and_nan_is_refused() -> None:
    assert as_input([1e30, -1e300, np.inf, 0.0, 5.0]).tolist() == [[16, -16], [16, 0], [5, 5]]
    with pytest.raises(PredictorError, match="holds NaN"):
        as_input([0.0, np.nan, 1.0])
    with pytest.raises(PredictorError, match=r"2 N \+ 1 numbers, t, n and log2 s, not as 4"):
        as_input(np.zeros((2, 4)))


def test_it_learns_to_rank_losses_that_it_has_not_seen() -> None:
    vectors, performances = samples(90)
    predictor = small_predictor()
    predictor.fit(vectors[:60], performances[:60])
    predicted = predictor.predict(vectors[60:])
    assert predicted.shape == (30,) and predicted.dtype == np.float64
    assert kendalltau(predicted, performances[60:])[0] > 0.6


def test_one_wild_loss_does_not_spoil_the_others() -> None:
    vectors, performances = samples(90)
    vectors[3, :4] = -1e30
    predictor = small_predictor()
    predictor.fit(vectors[:60], performances[:60])
    assert kendalltau(predictor.predict(vectors[60:]), performances[60:])[0] > 0.6


def test_the_whole_network_trains() -> None:
    vectors, performances = samples(4, points=65)
    predictor = Predictor(epochs=1)
    predictor.fit(vectors, performances)
    assert np.isfinite(predictor.predict(vectors)).all()


def test_equal_data_give_equal_predictions_whatever_was_fitted_before() -> None:
    vectors, performances = samples(40)
    once, again = small_predictor(epochs=3), small_predictor(epochs=3)
    again.fit(vectors[:20], performances[:20])
    torch.rand(3)
    for predictor in (once, again):
        predictor.fit(vectors, performances)
    np.testing.assert_array_equal(once.predict(vectors), again.predict(vectors))
    other = small_predictor(epochs=3, seed=1)
    other.fit(vectors, performances)
    assert not np.array_equal(other.predict(vectors), once.predict(vectors))


def test_the_global_random_state_and_the_threads_stay() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    vectors, performances = samples(20)
    small_predictor(epochs=1).fit(vectors, performances)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("number", "sizes"), [(2, [2]), (16, [16]), (17, [17]), (18, [16, 2]), (33, [16, 17]), (100, [16] * 6 + [4])]
)
def test_every_sample_is_seen_once_an_epoch_and_none_alone(number: int, sizes: list[int]) -> None:
    batches = [*Predictor()._batches(number, torch.Generator().manual_seed(0))]
    assert [len(batch) for batch in batches] == sizes
    assert sorted(torch.cat(batches).tolist()) == [*range(number)]


def test_what_cannot_be_learned_from_is_refused() -> None:
    vectors, performances = samples(3)
    predictor = small_predictor()
    with pytest.raises(PredictorError, match="call fit first"):
        predictor.predict(vectors)
    with pytest.raises(PredictorError, match="two evaluations or more, not from 1"):
        predictor.fit(vectors[:1], performances[:1])
    with pytest.raises(PredictorError, match=r"fractions from 0 to 1, one is 55\.0"):
        predictor.fit(vectors, [0.5, 55.0, 0.5])
    with pytest.raises(PredictorError, match="fractions from 0 to 1, one is nan"):
        predictor.fit(vectors, [0.5, np.nan, 0.5])
    with pytest.raises(PredictorError, match="give each loss one performance"):
        predictor.fit(vectors, performances[:2])


@pytest.mark.parametrize("learning_rate", [1e30, float("nan")])
def test_a_fit_that_becomes_infinite_is_reported(learning_rate: float) -> None:
    vectors, performances = samples(20)
    predictor = small_predictor()
    predictor.fit(vectors, performances)
    predictor.learning_rate = learning_rate
    with pytest.raises(PredictorError, match="became"):
        predictor.fit(vectors, performances)
    with pytest.raises(PredictorError, match="call fit first"):
        predictor.predict(vectors)


def test_errors_of_torch_are_reported_as_its_own() -> None:
    vectors, performances = samples(4)
    with pytest.raises(PredictorError, match="could not be trained"):
        Predictor(network=lambda: nn.Sequential(nn.Conv1d(5, 1, 1)), epochs=1).fit(vectors, performances)


def stop_after(calls: int) -> Callable[[], bool]:
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_a_fit_can_be_stopped() -> None:
    vectors, performances = samples(40)
    predictor = small_predictor()
    with pytest.raises(FitStoppedError, match="in epoch 2 of 30"):
        predictor.fit(vectors, performances, stop=stop_after(4))
    event = threading.Event()
    predictor.fit(vectors, performances, stop=event.is_set)
    assert len(predictor.predict(vectors)) == 40


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def watched(parameters: object, max_norm: float, **more: object) -> torch.Tensor:
        norms.append(max_norm)
        return clip(parameters, max_norm, **more)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    rng = np.random.default_rng(0)
    Predictor(epochs=2, batch_size=4, network=small_network).fit(rng.standard_normal((8, 515)), rng.random(8))
    assert norms == [1.0] * 4
