"""Foretells from the sampled functions of a loss how well it will do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fastreid_ext.projects.gms.ranking_loss import ranking_loss

__all__ = ["LARGEST_INPUT", "FitStoppedError", "Predictor", "PredictorError", "as_input", "resnet50_1d"]

# Magnitude at which inputs are cut: the largest log2 s that there is, far more than t and n of a sound loss reach.
LARGEST_INPUT = 16.0
# Samples at a time where nothing is learned.
_PREDICTED_AT_ONCE = 64


class PredictorError(Exception):
    """The predictor cannot be fitted, or was not."""


class FitStoppedError(Exception):
    """The fit ended because it was asked to."""


def as_input(vectors: ArrayLike) -> Tensor:
    """Rows t, n, and the repeated log2 s.

    Values beyond +-16 are cut there, which is ours: a candidate may be finite and yet reach 1e30, and one such sample
    would drown the others of its batch. All that a sound loss has stays as printed.

    Shape:
        vectors: (..., 2 N + 1), fv = [t at N points, n at N points, log2 s].
        returns: (..., 3, N), single precision.

    Raises:
        PredictorError: the length is even, or a value is NaN.

    Source: AutoLoss-GMS, section F.
    """
    values = np.asarray(vectors, dtype=np.float64)
    points, rest = divmod(values.shape[-1] - 1, 2)
    if rest or points < 1:
        raise PredictorError(f"a loss is sampled as 2 N + 1 numbers, t, n and log2 s, not as {values.shape[-1]}")
    if np.isnan(values).any():
        raise PredictorError("a sampled loss holds NaN: reject such candidates before the predictor sees them")
    values = values.clip(-LARGEST_INPUT, LARGEST_INPUT)
    scale = np.broadcast_to(values[..., -1:], values[..., :points].shape)
    return torch.from_numpy(np.stack([values[..., :points], values[..., points:-1], scale], axis=-2)).float()


def resnet50_1d() -> nn.Module:
    """torchvision's ResNet-50 for sequences, with one output: each layer replaced by its one-dimensional counterpart.

    Kernels, strides, padding and channels are the same, and new weights come from the distributions that torchvision
    uses with `zero_init_residual`: each block begins as the identity. Without that, SGD at the printed learning rate
    diverges within two epochs.

    Shape:
        input: (B, 3, N).
        returns: (B, 1).

    Source: AutoLoss-GMS, section F.
    """
    from torchvision.models.resnet import Bottleneck, resnet50

    # Weights of two-dimensional kernels are not worth drawing.
    with torch.device("meta"):
        network: nn.Module = resnet50(weights=None)
    for parent in [*network.modules()]:
        for name, layer in [*parent.named_children()]:
            setattr(parent, name, _counterpart(layer))
    for block in network.modules():
        if isinstance(block, Bottleneck):
            nn.init.zeros_(block.bn3.weight)
    return network


def _counterpart(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
        conv = nn.Conv1d(layer.in_channels, layer.out_channels, kernel, stride, padding, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        return conv
    if isinstance(layer, nn.BatchNorm2d):
        return nn.BatchNorm1d(layer.num_features)
    if isinstance(layer, nn.MaxPool2d):
        return nn.MaxPool1d(layer.kernel_size, layer.stride, layer.padding)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return nn.AdaptiveAvgPool1d(1)
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, 1)
    return layer


class Predictor:
    """A network from sampled losses to their performance, trained for its value and for the order.

    Each fit starts from new weights that depend on the seed alone (Algorithm 4 initialises once and then updates). So
    the predictor is a function of the recorded evaluations in their order, and a resumed search fits it again instead
    of storing it. On a CPU, with one number of threads, equal data give equal weights; the global random state is left
    alone.

    Ours, because as printed the training is unstable: blocks that begin as the identity (`resnet50_1d`), inputs cut
    (`as_input`), and gradients shortened to `clip_norm`.

    Args:
        seed: of weights and batches.
        learning_rate: of SGD, fixed.
        momentum: of SGD; the paper prints none.
        clip_norm: length to which longer gradients are shortened.
        batch_size: samples a step. A single one left over at the end of an epoch joins the batch before it.
        epochs: passes over the evaluations.
        ranking_weight: lambda, the factor of the ranking loss beside the squared error.
        temperature: tau of the ranking loss.
        device: where it is trained.
        network: makes the untrained network, (B, 3, N) to (B, 1).

    Source: AutoLoss-GMS, section F.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        learning_rate: float = 0.0035,
        momentum: float = 0.0,
        clip_norm: float = 1.0,
        batch_size: int = 16,
        epochs: int = 200,
        ranking_weight: float = 1.0,
        temperature: float = 0.01,
        device: str = "cpu",
        network: Callable[[], nn.Module] = resnet50_1d,
    ) -> None:
        self.seed = seed
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.clip_norm = clip_norm
        self.batch_size = batch_size
        self.epochs = epochs
        self.ranking_weight = ranking_weight
        self.temperature = temperature
        self.device = torch.device(device)
        self.network = network
        self._fitted: nn.Module | None = None

    def fit(self, vectors: ArrayLike, performances: ArrayLike, *, stop: Callable[[], bool] | None = None) -> None:
        """Trains a new network. Whatever ends that early, there is no predictor then until the next fit.

        Args:
            vectors: the sampled losses.
            performances: what they reached, as fractions.
            stop: asked before every step; the fit ends when it says so.

        Shape:
            vectors: (E, 2 N + 1).
            performances: (E,).

        Raises:
            FitStoppedError: `stop` said so.
            PredictorError: fewer than two samples, a performance that is no fraction, a loss or a weight that became
                infinite, or what torch raises, such as a lack of memory.
        """
        self._fitted = None
        inputs, targets = _checked(vectors, performances)
        try:
            self._fitted = self._train(inputs.to(self.device), targets.to(self.device), stop)
        except (RuntimeError, MemoryError) as error:
            raise PredictorError(f"the predictor could not be trained: {error}") from error

    def predict(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """The performance to expect of each loss.

        Shape:
            vectors: (N, 2 points + 1).
            returns: (N,).

        Raises:
            PredictorError: it was not fitted, or a prediction is not finite.
        """
        if self._fitted is None:
            raise PredictorError("the predictor was not fitted: call fit first")
        network, inputs = self._fitted, as_input(vectors)
        with torch.inference_mode():
            parts = [network(part.to(self.device)).squeeze(1).cpu() for part in torch.split(inputs, _PREDICTED_AT_ONCE)]
        predicted = torch.cat(parts).double().numpy()
        if not np.isfinite(predicted).all():
            raise PredictorError("a prediction is not finite")
        return predicted

    def _train(self, inputs: Tensor, targets: Tensor, stop: Callable[[], bool] | None) -> nn.Module:
        network = self._initialised()
        optimizer = torch.optim.SGD(network.parameters(), lr=self.learning_rate, momentum=self.momentum)
        generator = torch.Generator().manual_seed(self.seed)
        for epoch in range(self.epochs):
            total = torch.zeros((), device=self.device)
            for batch in self._batches(len(inputs), generator):
                if stop is not None and stop():
                    raise FitStoppedError(f"the predictor's fit was stopped in epoch {epoch + 1} of {self.epochs}")
                loss = self._loss(network(inputs[batch]).squeeze(1), targets[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
                nn.utils.clip_grad_norm_(network.parameters(), self.clip_norm)
                optimizer.step()
                total += loss.detach()
            if not total.isfinite():
                raise PredictorError(f"the predictor's loss became {total.item()} in epoch {epoch + 1}")
        if not all(value.isfinite().all() for value in network.state_dict().values()):
            raise PredictorError("weights of the predictor became infinite")
        return network.eval()

    def _loss(self, predicted: Tensor, actual: Tensor) -> Tensor:
        ranking = ranking_loss(predicted, actual, temperature=self.temperature)
        return F.mse_loss(predicted, actual) + self.ranking_weight * ranking

    def _initialised(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            # `torch.manual_seed` would seed the GPUs, too.
            torch.default_generator.manual_seed(self.seed)
            return self.network().to(self.device).train()

    def _batches(self, number: int, generator: torch.Generator) -> Iterable[Tensor]:
        order = torch.randperm(number, generator=generator).to(self.device)
        return order.tensor_split([*range(self.batch_size, number - 1, self.batch_size)])


def _checked(vectors: ArrayLike, performances: ArrayLike) -> tuple[Tensor, Tensor]:
    inputs, targets = as_input(vectors), np.asarray(performances, dtype=np.float64)
    if inputs.ndim != 3 or targets.shape != inputs.shape[:1]:
        raise PredictorError(f"give each loss one performance: shapes {np.shape(vectors)}, {targets.shape}")
    if len(targets) < 2:
        raise PredictorError(f"the predictor learns from two evaluations or more, not from {len(targets)}")
    wrong = targets[~((targets >= 0) & (targets <= 1))]
    if len(wrong):
        raise PredictorError(f"performances are fractions from 0 to 1, one is {wrong[0]}")
    return inputs, torch.from_numpy(targets).float()
