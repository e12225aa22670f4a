from __future__ import annotations

import math
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import Tensor, nn

from fastreid_ext.modeling.layers import (
    IBN,
    NORMS,
    POOLINGS,
    FrozenBatchNorm,
    GeneralizedMeanPooling,
    GeneralizedMeanPoolingP,
    GhostBatchNorm,
    NonLocal,
    SELayer,
    SyncBatchNorm,
    build_norm,
    build_pooling,
    convert_norms,
)
from fastreid_ext.registry import RegistryError
from fastreid_ext.utils.dist import leave_group

FASTREID_POOLINGS = [
    "Identity",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GeneralizedMeanPooling",
    "GeneralizedMeanPoolingP",
    "FastGlobalAvgPool",
    "AdaptiveAvgMaxPool",
    "ClipGlobalAvgPool",
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _shake(module: nn.Module) -> None:
    """Norm weights and statistics other than the identity."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5)


def _gem_by_loop(x: Tensor, p: float, eps: float) -> Tensor:
    out = torch.zeros(x.shape[0], x.shape[1], 1, 1, dtype=x.dtype)
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            values = [max(float(v), eps) for v in x[b, c].flatten()]
            out[b, c] = (sum(v**p for v in values) / len(values)) ** (1 / p)
    return out


@pytest.mark.parametrize("name", FASTREID_POOLINGS)
def test_pooling_shapes(name: str) -> None:
    x = torch.randn(2, 6, 5, 3)
    shape = {"Identity": (2, 6, 5, 3), "Flatten": (2, 90)}.get(name, (2, 6, 1, 1))
    assert build_pooling(name)(x).shape == shape


def test_poolings_are_fastreids_and_unknown_names_are_explained() -> None:
    assert all(name in POOLINGS for name in FASTREID_POOLINGS)
    with pytest.raises(RegistryError, match="GeneralizedMeanPooling"):
        build_pooling("GeneralisedMeanPooling")


@pytest.mark.parametrize("p", [1.0, 3.0, 6.5])
def test_gem_is_the_definition(p: float) -> None:
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64)
    assert torch.allclose(GeneralizedMeanPooling(p)(x), _gem_by_loop(x, p, 1e-6))
    assert torch.allclose(GeneralizedMeanPoolingP(p).double()(x), _gem_by_loop(x, p, 1e-6))


def test_gem_gradients_of_features_and_exponent() -> None:
    x = torch.rand(2, 3, 4, 2, dtype=torch.float64) + 0.1
    layer = GeneralizedMeanPoolingP().double()
    assert list(layer.state_dict()) == ["p"] and layer.p.shape == (1,)
    assert torch.autograd.gradcheck(
        lambda x, p: torch.func.functional_call(layer, {"p": p}, (x,)), (x.requires_grad_(), layer.p)
    )


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("p", [3.0, 30.0])
def test_gem_is_safe_in_float16(scale: float, p: float) -> None:
    x = (torch.rand(2, 3, 16, 8) * scale).half().requires_grad_()
    pooled = GeneralizedMeanPooling(p)(x)
    pooled.float().sum().backward()
    assert pooled.dtype == torch.float16
    assert x.grad is not None and x.grad.isfinite().all()
    assert torch.allclose(pooled.double(), _gem_by_loop(x.detach().double(), p, 1e-6), rtol=2e-3, atol=1e-7)


def test_mean_and_maximum_poolings() -> None:
    x = torch.randn(2, 3, 4, 2) * 3
    mean, largest = x.mean((2, 3), keepdim=True), x.flatten(2).max(2).values[..., None, None]
    assert torch.allclose(build_pooling("GlobalAvgPool")(x), mean)
    assert torch.equal(build_pooling("GlobalMaxPool")(x), largest)
    assert torch.allclose(build_pooling("AdaptiveAvgMaxPool")(x), mean + largest)
    assert torch.allclose(build_pooling("ClipGlobalAvgPool")(x), mean.clamp(0, 1))


@pytest.mark.parametrize("name", ["BN", "syncBN", "GhostBN", "FrozenBN", "GN"])
@pytest.mark.parametrize("size", [(5, 3), (1, 1)])
def test_norms_keep_the_shape_of_maps_and_pooled_features(name: str, size: tuple[int, int]) -> None:
    norm = build_norm(name, 64)
    x = torch.randn(4, 64, *size, requires_grad=True)
    norm(x).square().sum().backward()
    assert norm(x).shape == x.shape and x.grad is not None and x.grad.isfinite().all()
    assert {"weight", "bias"} <= set(norm.state_dict())


def test_batch_norms_share_their_state_names() -> None:
    state = build_norm("BN", 8).state_dict()
    for name in ("syncBN", "GhostBN", "FrozenBN"):
        build_norm(name, 8).load_state_dict(state)


def test_unknown_norm_is_explained() -> None:
    with pytest.raises(RegistryError, match=r"unknown norm 'SyncBn'. Did you mean syncBN"):
        build_norm("SyncBn", 8)
    assert NORMS.names() == ["BN", "FrozenBN", "GN", "GhostBN", "syncBN"]


def test_group_norm_takes_any_number_of_channels() -> None:
    assert [build_norm("GN", c).num_groups for c in (64, 48, 20)] == [32, 16, 4]


def test_frozen_norm_is_batch_norm_in_evaluation_for_ever() -> None:
    reference, frozen = nn.BatchNorm2d(6), FrozenBatchNorm(6)
    _shake(reference)
    frozen.load_state_dict(reference.state_dict())
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    x = torch.randn(3, 6, 4, 2)
    parent = nn.Sequential(frozen).train()
    assert torch.equal(parent(x), reference.eval()(x))
    assert all(torch.equal(before[key], value) for key, value in frozen.state_dict().items())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_ghost_norm_normalises_each_part_for_itself() -> None:
    ghost = GhostBatchNorm(5, num_splits=3)
    parts = [nn.BatchNorm2d(5) for _ in range(3)]
    x = torch.randn(6, 5, 4, 2) * 2 + 1
    out = ghost(x)
    for index, part in enumerate(parts):
        assert torch.allclose(out[index::3], part(x[index::3]), atol=1e-5)
    assert torch.allclose(ghost.running_var, torch.stack([part.running_var for part in parts]).mean(0))
    assert torch.allclose(ghost.running_mean, torch.stack([part.running_mean for part in parts]).mean(0))
    with pytest.raises(ValueError, match="batch of 4 into num_splits=3"):
        ghost(x[:4])
    assert ghost.eval()(x[:4]).shape == (4, 5, 4, 2)


def _sync_worker(rank: int, port: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    data = torch.load(folder / "data.pt")
    norm = SyncBatchNorm(3).double()
    norm.load_state_dict(data["state"])
    x = data["x"][:3] if rank == 0 else data["x"][3:]
    x.requires_grad_()
    out = norm(x)
    (out * (data["weights"][:3] if rank == 0 else data["weights"][3:])).sum().backward()
    torch.save({"out": out.detach(), "grad": x.grad, "state": norm.state_dict()}, folder / f"{rank}.pt")
    leave_group()


def test_sync_norm_on_cpus_is_batch_norm_of_the_whole_batch(tmp_path: Path) -> None:
    norm = nn.BatchNorm2d(3).double()
    _shake(norm)
    x, weights = torch.randn(2, 5, 3, 4, 2, dtype=torch.float64)
    torch.save({"x": x, "weights": weights, "state": norm.state_dict()}, tmp_path / "data.pt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run_ranks(_sync_worker, (port, tmp_path))
    x = x.clone().requires_grad_()
    out = norm(x)
    (out * weights).sum().backward()
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert torch.allclose(torch.cat([part["out"] for part in parts]), out)
    assert torch.allclose(torch.cat([part["grad"] for part in parts]), x.grad)
    for part in parts:
        assert all(torch.allclose(part["state"][key], value) for key, value in norm.state_dict().items())


def test_convert_norms_replaces_every_batch_norm() -> None:
    network = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8)))
    convert_norms(network, "FrozenBN")
    assert [type(m) for m in network.modules() if isinstance(m, nn.BatchNorm2d)] == [FrozenBatchNorm] * 2


def test_ibn_normalises_half_of_the_channels_by_instance() -> None:
    layer = IBN(6).double()
    _shake(layer)
    assert {"IN.weight", "IN.bias", "BN.weight", "BN.running_var"} <= set(layer.state_dict())
    x = torch.randn(4, 6, 5, 3, dtype=torch.float64)
    out = layer(x)
    for b in range(4):
        for c in range(6):
            values = x[b, c] if c < 3 else x[:, c]
            norm, index = (layer.IN, c) if c < 3 else (layer.BN, c - 3)
            scaled = (x[b, c] - values.mean()) / torch.sqrt(values.var(unbiased=False) + 1e-5)
            assert torch.allclose(out[b, c], scaled * norm.weight[index] + norm.bias[index])


def test_squeeze_and_excitation_is_the_definition() -> None:
    layer = SELayer(32, reduction=16)
    assert {key: tuple(value.shape) for key, value in layer.state_dict().items()} == {
        "fc.0.weight": (2, 32),
        "fc.2.weight": (32, 2),
    }
    x = torch.randn(3, 32, 4, 2)
    out = layer(x)
    for b in range(3):
        means = torch.tensor([float(x[b, c].mean()) for c in range(32)])
        hidden = torch.relu(layer.fc[0].weight @ means)
        gates = 1 / (1 + torch.exp(-(layer.fc[2].weight @ hidden)))
        for c in range(32):
            assert torch.allclose(out[b, c], x[b, c] * gates[c], atol=1e-6)


@pytest.mark.parametrize("inner", [None, 1, 16])
def test_non_local_is_the_definition(inner: int | None) -> None:
    layer = NonLocal(8, inner).double().eval()
    x = torch.randn(2, 8, 3, 2, dtype=torch.float64)
    assert torch.equal(layer(x), x), "a new block is the identity"
    _shake(layer)
    width = inner or 4
    assert layer.g.weight.shape == (width, 8, 1, 1)
    out = layer(x)
    positions = [(i, j) for i in range(3) for j in range(2)]
    for b in range(2):
        theta, phi, g = (
            {at: embed.weight[:, :, 0, 0] @ x[b, :, at[0], at[1]] + embed.bias for at in positions}
            for embed in (layer.theta, layer.phi, layer.g)
        )
        for at in positions:
            mixed = sum((theta[at] @ phi[other]) * g[other] for other in positions) / len(positions)
            conv, norm = layer.W[0], layer.W[1]
            scaled = (conv.weight[:, :, 0, 0] @ mixed + conv.bias - norm.running_mean) / torch.sqrt(
                norm.running_var + norm.eps
            )
            expected = x[b, :, at[0], at[1]] + scaled * norm.weight + norm.bias
            assert torch.allclose(out[b, :, at[0], at[1]], expected)


def test_layers_leave_their_input_as_it_was() -> None:
    x = torch.randn(2, 32, 4, 2)
    before = x.clone()
    for layer in (IBN(32), SELayer(32), NonLocal(32), *(build_pooling(name) for name in FASTREID_POOLINGS)):
        layer(x)
        assert torch.equal(x, before)
    assert math.isfinite(float(x.sum()))
