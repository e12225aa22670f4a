"""Spatial alignment against loops written from eqs. 7 and 8."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import Tensor, nn
from torch.nn.functional import normalize

from fastreid_ext.config import CfgNode, ConfigError, get_cfg, load_config
from fastreid_ext.engine.checkpoint import load_weights
from fastreid_ext.modeling import build_criterion, build_model
from fastreid_ext.projects.msinet import (
    MSINet,
    PositionActivation,
    SpatialAlignmentModule,
    TwoBranchHead,
    maximum_activations,
    spatial_alignment_loss,
)

# The package's name for it is that of the function.
blocks = sys.modules["fastreid_ext.projects.msinet.maximum_activations"]

ALIGNMENTS = ("positives", "negatives", "unified", "separated", "pam-self")
PIDS = torch.tensor([0, 1, 0, 2, 1, 0])
every_alignment = pytest.mark.parametrize("align", ALIGNMENTS)
every_layout = pytest.mark.parametrize("layout", ["paper", "published"])


def maps_of(batch: int = 6, channels: int = 8, height: int = 3, width: int = 2) -> Tensor:
    return torch.randn(batch, channels, height, width, dtype=torch.float64).requires_grad_()


def module_of(align: str = "pam-self", layout: str = "paper", channels: int = 8) -> SpatialAlignmentModule:
    return SpatialAlignmentModule(channels, align=align, layout=layout).double()  # type: ignore[arg-type]


def gradients(loss: Tensor, maps: Tensor, module: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [maps, *module.parameters()]))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def activation(own: Tensor, other: Tensor) -> Tensor:
    """Eq. 7, a position at a time."""
    return torch.stack([torch.stack([x @ y for y in other.T]).max() for x in own.T])


def slow_loss(maps: Tensor, pids: Tensor, module: SpatialAlignmentModule) -> Tensor:
    """Eq. 8, an anchor, a pair and a position at a time."""
    x, number = maps.flatten(2), len(maps)
    rows = []
    for i in range(number):
        if module.layout == "paper":
            a = [activation(x[i], x[j]) for j in range(number)]
        else:
            a = [activation(x[j], x[i]) for j in range(number)]
        positives = [j for j in range(number) if pids[j] == pids[i]]
        negatives = [j for j in range(number) if pids[j] != pids[i]]

        def together(images: list[int], a: list[Tensor] = a) -> Tensor:
            pairs = [1 - cosine(a[m], a[n]) for m in images for n in images]
            return torch.stack(pairs).mean() if pairs else maps.new_zeros(())

        row = maps.new_zeros(())
        pam = module.position_activation
        if pam is not None:
            query, key = ((layer.weight.flatten(1) @ x[i] + layer.bias[:, None]) for layer in (pam.query, pam.key))
            itself = activation(query, key)
            row = row + torch.stack([1 - cosine(itself, a[j]) for j in positives]).mean()
        if module.align in ("positives", "separated"):
            row = row + together(positives)
        if module.align in ("negatives", "separated", "pam-self"):
            row = row + together(negatives)
        if module.align == "unified":
            row = row + together(list(range(number)))
        rows.append(row)
    return torch.stack(rows).mean()


def maxima_of(anchors: Tensor, others: Tensor) -> Tensor:
    """`maximum_activations` of maps that are given with a row a position."""
    maps = anchors.mT[..., None]
    return maximum_activations(maps, maps if others is anchors else others.mT[..., None])


def direct_activations(anchors: Tensor, others: Tensor) -> Tensor:
    return torch.einsum("inc,jmc->ijnm", anchors, others).max(3).values


@every_layout
@every_alignment
def test_loss_and_gradients_equal_the_loop(align: str, layout: str) -> None:
    module, maps = module_of(align, layout), maps_of()
    ours, slow = module(maps, PIDS), slow_loss(maps, PIDS, module)
    torch.testing.assert_close(ours, slow, rtol=0, atol=1e-9)
    for a, b in zip(gradients(ours, maps, module), gradients(slow, maps, module), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@every_layout
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_loss_and_gradients_equal_einsum(layout: str, memory_format: torch.memory_format) -> None:
    # Several tiles, mirrored ones among them, and more positions than a byte can hold.
    maps = maps_of(9, 16, 18, 16).detach().contiguous(memory_format=memory_format).requires_grad_()
    pids, module = torch.arange(9) // 3, module_of("pam-self", layout, 16)
    ours = module(maps, pids)
    x = maps.flatten(2).mT
    a = direct_activations(x, x) if layout == "paper" else direct_activations(x, x).transpose(0, 1)
    assert module.position_activation is not None
    itself = normalize(module.position_activation(maps), dim=1)
    same, u = (pids[:, None] == pids).double(), normalize(a, dim=2)
    positives = (1 - torch.einsum("in,ijn->ij", itself, u)) * same / same.sum(1, keepdim=True)
    apart = (1 - same)[:, :, None] * (1 - same)[:, None] / (1 - same).sum(1)[:, None, None] ** 2
    direct = (positives.sum(1) + ((1 - u @ u.mT) * apart).sum((1, 2))).mean()
    torch.testing.assert_close(ours, direct, rtol=0, atol=1e-9)
    for got, expected in zip(gradients(ours, maps, module), gradients(direct, maps, module), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("way", ["threads", "blocks"])
@pytest.mark.parametrize("others", [None, (5, 7), (3, 300), (2, 1)])
def test_maximum_activations_equal_einsum(
    way: str, others: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "blocks":
        # What a GPU does, on the CPU, in several blocks.
        monkeypatch.setattr(blocks, "_find_in_threads", blocks._find_in_blocks)
        monkeypatch.setattr(blocks, "_add_in_threads", blocks._add_in_blocks)
        monkeypatch.setattr(blocks, "_GPU_BYTES", 30_000)
    monkeypatch.setattr(blocks, "_ROWS", 70)
    monkeypatch.setattr(blocks, "_COLUMNS", 110)
    anchors = torch.randn(7, 33, 5, dtype=torch.float64, requires_grad=True)
    compared = anchors if others is None else torch.randn(*others, 5, dtype=torch.float64, requires_grad=True)
    ours, direct = maxima_of(anchors, compared), direct_activations(anchors, compared)
    torch.testing.assert_close(ours, direct, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    inputs = [anchors] if others is None else [anchors, compared]
    got, expected = (torch.autograd.grad((a * weights).sum(), inputs) for a in (ours, direct))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    if others is not None:
        for one, other in zip(inputs, expected, strict=True):
            loss = (maxima_of(*(t if t is one else t.detach() for t in inputs)) * weights).sum()
            torch.testing.assert_close(torch.autograd.grad(loss, [one])[0], other, rtol=0, atol=1e-9)


def test_positions_are_kept_in_the_smallest_type() -> None:
    kept = {m: blocks._empty_maxima(torch.empty(1, 1, 1), torch.empty(1, m, 1))[1].dtype for m in (256, 257, 32769)}
    assert kept == {256: torch.uint8, 257: torch.int16, 32769: torch.int32}


def test_equal_maxima_take_the_first_position() -> None:
    maps = torch.ones(3, 4, 2, requires_grad=True)
    maxima_of(maps, maps)[0, 1].sum().backward()
    assert maps.grad is not None
    assert maps.grad[1].tolist() == [[4, 4], [0, 0], [0, 0], [0, 0]]
    assert maps.grad[0].tolist() == [[1, 1]] * 4


@every_layout
@every_alignment
def test_gradcheck(align: str, layout: str) -> None:
    module, maps = module_of(align, layout), maps_of(4)
    assert torch.autograd.gradcheck(lambda x: module(x, PIDS[:4]), maps)


@every_alignment
def test_the_order_of_the_batch_does_not_matter(align: str) -> None:
    module, maps, order = module_of(align), maps_of(), torch.randperm(6)
    torch.testing.assert_close(module(maps[order], PIDS[order]), module(maps, PIDS), rtol=0, atol=1e-12)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    maps = torch.randn(20, 24, 9, 5)
    found = []
    for threads in (1, 2, 3):
        leaf = maps.clone().requires_grad_()
        torch.set_num_threads(threads)
        try:
            positions = leaf.flatten(2).mT
            maxima = maxima_of(positions, positions)
            found.append((maxima, *torch.autograd.grad(maxima.sin().sum(), [leaf])))
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_any_size_of_tiles_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whole numbers have exact sums, whatever the order in which a matrix product adds.
    maps = torch.randint(-9, 10, (11, 13, 6)).float().requires_grad_()
    found = []
    for rows, columns in ((256, 512), (13, 13), (30, 14), (1, 1000)):
        monkeypatch.setattr(blocks, "_ROWS", rows)
        monkeypatch.setattr(blocks, "_COLUMNS", columns)
        a = maxima_of(maps, maps)
        found.append((a, *torch.autograd.grad(a.square().sum(), [maps])))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@every_alignment
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(align: str, dtype: torch.dtype) -> None:
    maps = (100 * torch.randn(6, 8, 3, 2)).to(dtype).requires_grad_()
    module = SpatialAlignmentModule(8, align=align)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        loss = module(maps, PIDS)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert maps.grad is not None and maps.grad.dtype == dtype and maps.grad.isfinite().all()
    assert torch.equal(loss, module(maps.detach().float(), PIDS))


@every_layout
@every_alignment
@pytest.mark.parametrize(
    ("pids", "size"),
    [
        ([], (2, 2)),
        ([3], (2, 2)),
        ([3, 3, 3], (2, 2)),
        ([0, 1, 2], (2, 2)),
        ([0, 0, 1], (1, 1)),
    ],
    ids=["empty batch", "one image", "one identity", "no positives", "one position"],
)
def test_unusual_batches(pids: list[int], size: tuple[int, int], align: str, layout: str) -> None:
    module, maps = module_of(align, layout), maps_of(len(pids), 8, *size)
    loss = module(maps, torch.tensor(pids, dtype=torch.long))
    loss.backward()
    assert maps.grad is not None and maps.grad.isfinite().all()
    if not pids:
        assert loss.item() == 0
        return
    torch.testing.assert_close(loss, slow_loss(maps, torch.tensor(pids), module), rtol=0, atol=1e-9)
    if align == "negatives" and len(set(pids)) == 1:
        assert loss.item() == 0


@every_layout
@every_alignment
@pytest.mark.parametrize("empty", [[0, 1, 2, 3, 4, 5], [2]], ids=["all", "one"])
def test_maps_of_zeros(empty: list[int], align: str, layout: str) -> None:
    maps = maps_of().detach()
    maps[empty] = 0
    maps.requires_grad_()
    module = module_of(align, layout)
    loss = module(maps, PIDS)
    found = gradients(loss, maps, module)
    assert loss.isfinite() and all(g.isfinite().all() and g.abs().max() < 1e3 for g in found)


def test_maps_may_change_their_size() -> None:
    module = module_of()
    for size in ((4, 2), (16, 16), (17, 16), (4, 2)):
        maps = maps_of(4, 8, *size)
        module(maps, PIDS[:4]).backward()
        assert maps.grad is not None and maps.grad.shape == maps.shape and maps.grad.isfinite().all()


def test_inputs_and_gradients_of_others_are_left_alone() -> None:
    module, maps = module_of(), maps_of()
    before = maps.detach().clone()
    shared = 2 * maps
    (module(shared, PIDS) + shared.square().sum() + module(shared, PIDS)).backward(retain_graph=False)
    assert maps.grad is not None and torch.equal(maps, before)
    again = maps.detach().requires_grad_()
    (2 * slow_loss(2 * again, PIDS, module) + (2 * again).square().sum()).backward()
    torch.testing.assert_close(maps.grad, again.grad, rtol=0, atol=1e-9)


def test_a_second_backward_adds_up() -> None:
    module, maps = module_of(), maps_of()
    loss = module(maps, PIDS)
    (first,) = torch.autograd.grad(loss, maps, retain_graph=True)
    (second,) = torch.autograd.grad(loss, maps)
    assert torch.equal(first, second)


def test_activations_of_all_pairs_are_never_there(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    real = torch.mm

    def watched(*arguments: Tensor, out: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, out.numel())
        return real(*arguments, out=out)

    monkeypatch.setattr(torch, "mm", watched)
    maps = torch.randn(32, 128, 4, requires_grad=True)
    maxima_of(maps, maps).sum().backward()
    assert 0 < largest <= 256 * 512 < maps.shape[0] ** 2 * 128**2 / 100


def test_parameter_count_is_the_papers() -> None:
    count = sum(
        p.numel() for part in (MSINet(), TwoBranchHead(), SpatialAlignmentModule(512)) for p in part.parameters()
    )
    assert count == 2_393_827


def test_only_pam_has_weights() -> None:
    for align in ALIGNMENTS:
        module = module_of(align)
        loss = module(maps_of(), PIDS)
        loss.backward()
        assert len(list(module.parameters())) == (4 if align == "pam-self" else 0)
        assert all(p.grad is not None for p in module.parameters())


def test_position_activation_equals_convolutions() -> None:
    pam, maps = PositionActivation(16).double(), maps_of(3, 16)
    query, key = pam.query(maps).flatten(2), pam.key(maps).flatten(2)
    direct = torch.einsum("bcn,bcm->bnm", query, key).max(2).values
    torch.testing.assert_close(pam(maps), direct, rtol=0, atol=1e-12)


def test_wrong_input_is_refused() -> None:
    maps = maps_of()
    with pytest.raises(ValueError, match=r"unknown align 'self'.*LOSSES.SAM.ALIGN.*negatives, unified, separated"):
        SpatialAlignmentModule(8, align="self")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unknown layout 'theirs'.*paper, published"):
        spatial_alignment_loss(maps, PIDS, align="unified", layout="theirs")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs self_activation"):
        spatial_alignment_loss(maps, PIDS, align="pam-self")
    with pytest.raises(ValueError, match=r"\(6, 48\) and \(6,\)"):
        spatial_alignment_loss(maps.flatten(1), PIDS, align="unified")
    with pytest.raises(ValueError, match=r"\(6, 8, 3, 2\) and \(5,\)"):
        module_of()(maps, PIDS[:5])
    with pytest.raises(ValueError, match=r"of 16 channels cannot take maps \(6, 8, 3, 2\)"):
        module_of(channels=16)(maps, PIDS)
    with pytest.raises(ValueError, match=r"not \(2, 4, 3, 1\) and \(2, 5, 3, 1\)"):
        maximum_activations(torch.ones(2, 4, 3, 1), torch.ones(2, 5, 3, 1))


def small_cfg(*losses: str, backbone: str = "build_osnet_backbone", head: str = "EmbeddingHead") -> CfgNode:
    options: dict[str, object] = {
        "HEADS.NAME": head,
        "HEADS.NUM_CLASSES": 4,
        "BACKBONE.NAME": backbone,
        "BACKBONE.DEPTH": "x1_0",
        "BACKBONE.PRETRAIN": False,
        "LOSSES.NAME": losses,
        "LOSSES.SAM.SCALE": 3.0,
        "DEVICE": "cpu",
    }
    return load_config(
        "msinet/quickstart", [part for key, value in options.items() for part in (f"MODEL.{key}", value)]
    )


def batch_of(size: int = 8) -> dict[str, Tensor]:
    images = torch.randint(0, 256, (size, 3, 64, 32), dtype=torch.uint8)
    return {"images": images, "targets": torch.arange(size) // 2}


@pytest.mark.parametrize("autocast", [False, True])
def test_osnet_trains_a_step_with_it(autocast: bool) -> None:
    model = build_model(small_cfg("CrossEntropyLoss", "TripletLoss", "SpatialAlignmentLoss"))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = model(batch_of())
    assert set(losses) == {"loss_cls", "loss_triplet", "loss_sam"}
    before = [p.detach().clone() for p in model.criterion.parameters()]
    sum(losses.values()).backward()
    optimizer.step()
    assert len(before) == 4 and all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert not all(torch.equal(a, b) for a, b in zip(before, model.criterion.parameters(), strict=True))


def test_msinet_has_one_alignment_for_both_branches() -> None:
    names = ("CrossEntropyLoss", "SpatialAlignmentLoss")
    model = build_model(small_cfg(*names, backbone="MSINet", head="TwoBranchHead"))
    seen: list[Tensor] = []
    sam = model.criterion.losses["sam"]
    sam.register_forward_hook(lambda module, inputs, output: seen.append(output))
    losses = model(batch_of())
    assert set(losses) == {"loss_cls_global", "loss_cls_local", "loss_sam"}
    assert len(seen) == 1 and torch.equal(losses["loss_sam"], 3 * seen[0])
    assert sam.channels == 512


def test_inference_needs_no_alignment() -> None:
    plain, aligned = (
        build_model(small_cfg("CrossEntropyLoss", *more)).eval() for more in ((), ("SpatialAlignmentLoss",))
    )
    images = batch_of(2)["images"]
    for one, other in ((plain, aligned), (aligned, plain)):
        load_weights(one, {"model": other.state_dict()}, for_inference=True)
        with torch.no_grad():
            assert torch.equal(one(images), other(images))


def test_channels_have_to_be_known() -> None:
    cfg = get_cfg(["msinet"])
    cfg.MODEL.LOSSES.NAME = ("SpatialAlignmentLoss",)
    with pytest.raises(ConfigError, match="SpatialAlignmentLoss is a loss on the backbone's one last map"):
        build_criterion(cfg)
    assert build_criterion(cfg, 24).losses["sam"].channels == 24


def _alone(layout: str) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(3)
    module, maps = module_of("pam-self", layout), maps_of(8)
    loss = module(maps, torch.arange(8) // 2 % 3)
    return loss, gradients(loss, maps, module)


def _run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for layout in ("paper", "published"):
        torch.manual_seed(3)
        module, maps = module_of("pam-self", layout), maps_of(8)
        own = slice(4 * rank, 4 * rank + 4)
        part = maps.detach()[own].requires_grad_()
        loss = module.from_outputs({"map": part}, (torch.arange(8) // 2 % 3)[own])
        of_maps, *of_weights = gradients(loss, part, module)
        whole, (of_all, *expected) = _alone(layout)
        for value in (loss.detach(), *of_weights):
            dist.all_reduce(value)
        # DistributedDataParallel divides by the number of ranks.
        torch.testing.assert_close(loss / 2, whole, rtol=0, atol=1e-12)
        torch.testing.assert_close(of_maps / 2, of_all[own], rtol=0, atol=1e-12)
        for found, value in zip(of_weights, expected, strict=True):
            torch.testing.assert_close(found / 2, value, rtol=0, atol=1e-12)
    dist.destroy_process_group()


def test_two_ranks_have_the_gradient_of_one(tmp_path: Path) -> None:
    run_ranks(_run_rank, (str(tmp_path),))
