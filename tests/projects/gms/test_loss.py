"""The loss as a class, as a classification layer and on pairs, against loops written from the formulas."""

import copy
import math
import pickle

import pytest
import torch
from interpreter import interpret
from torch import Tensor

from fastreid_ext.config import ConfigError, load_config
from fastreid_ext.functional.distances import normalize
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.layers.cls import ArcSoftmax, CircleSoftmax, CosSoftmax
from fastreid_ext.modeling.losses import CircleLoss
from fastreid_ext.projects.gms import PRESETS, GMSLoss, GMSPairwiseLoss, GMSSoftmax, ParseError
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.compile import compiled_function
from fastreid_ext.projects.gms.graph import Graph, GraphError, Operation
from fastreid_ext.projects.gms.parser import parse
from fastreid_ext.projects.gms.presets import HAND_CRAFTED, arcface, circle, cosface, softmax
from fastreid_ext.projects.gms.primitives import PRIMITIVES

EDGES = torch.tensor([-1.0, -0.999999, -0.5, -1e-9, 0.0, 1e-9, 0.5, 0.999999, 1.0])


def cosines(rows: int = 6, classes: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, classes, generator=generator, dtype=torch.float64) * 1.96 - 0.98
    return x, torch.randint(classes, (rows,), generator=generator)


def slow_loss(candidate: Candidate, x: Tensor, pids: Tensor) -> float:
    losses = []
    for row, pid in zip(x.tolist(), pids.tolist(), strict=True):
        if pid >= 0:
            s = candidate.scale
            z = [s * interpret(candidate.target if i == pid else candidate.nontarget, v) for i, v in enumerate(row)]
            largest = max(z)
            losses.append(largest + math.log(sum(math.exp(value - largest) for value in z)) - z[pid])
    return sum(losses) / max(1, len(losses))


@pytest.mark.parametrize("name", PRESETS)
def test_loss_is_the_formula(name: str) -> None:
    x, pids = cosines()
    pids[2] = -1
    loss = GMSLoss.preset(name)(x, pids)
    assert loss.item() == pytest.approx(slow_loss(PRESETS[name], x, pids), rel=1e-10, abs=1e-12)


def detaches(candidate: Candidate) -> bool:
    return any(op.primitive == "de" for graph in (candidate.target, candidate.nontarget) for op in graph.operations)


# Differences would move detached weights, too.
@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if not detaches(preset)])
def test_gradient_is_that_of_differences(name: str) -> None:
    candidate = PRESETS[name]
    x, pids = cosines(3, 5)
    loss = GMSLoss(target=candidate.target, nontarget=candidate.nontarget, log2_scale=2.0)
    assert torch.autograd.gradcheck(lambda values: loss(values, pids), x.requires_grad_())


def test_detached_weights_are_constants() -> None:
    x, pids = cosines(3, 5)
    x.requires_grad_()
    GMSLoss.preset("gms-a")(x, pids).backward()
    s, given = PRESETS["gms-a"].scale, x.detach()
    free = given.clone().requires_grad_()
    weight = 1 - given.gather(1, pids[:, None])
    own = s * weight * (free.gather(1, pids[:, None]) - 0.7)
    others = s * (2 * torch.atan(torch.tanh((free - torch.sigmoid(torch.tensor(0.25, dtype=free.dtype))) / 2))).relu()
    torch.nn.functional.cross_entropy(others.scatter(1, pids[:, None], own), pids).backward()
    torch.testing.assert_close(x.grad, free.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "candidate"),
    [
        (CosSoftmax(9, 16.0, 0.0), softmax(4.0)),
        (CosSoftmax(9, 32.0, 0.35), cosface(0.35, 5.0)),
        (ArcSoftmax(9, 32.0, 0.5), arcface(0.5, 5.0)),
        (CircleSoftmax(9, 64.0, 0.25), circle(0.25, 6.0)),
    ],
)
def test_presets_are_our_layers(layer: torch.nn.Module, candidate: Candidate) -> None:
    ours = GMSSoftmax(9, target=candidate.target, nontarget=candidate.nontarget, log2_scale=candidate.log2_scale)
    assert candidate in HAND_CRAFTED.values()
    x, pids = cosines(40)
    x[0, :2] = torch.tensor([-1.0, 1.0])
    pids[:2], pids[7] = torch.tensor([0, 1]), -1
    grads = []
    for each in (layer, ours):
        given = x.clone().requires_grad_()
        logits = each(given, pids)
        logits.logsumexp(1).sum().backward()
        grads.append((logits.detach(), given.grad))
    for theirs, mine in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_layer_with_cross_entropy_is_the_loss() -> None:
    x, pids = cosines()
    logits = GMSSoftmax(9)(x, pids)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, pids), GMSLoss.preset("gms-a")(x, pids))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_finite_in_every_precision_up_to_the_edges(name: str, dtype: torch.dtype) -> None:
    x = EDGES.to(dtype).expand(len(EDGES), -1).clone().requires_grad_()
    pids = torch.arange(len(EDGES))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = GMSLoss.preset(name)(x, pids)
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert x.grad is not None and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", [name for name in PRIMITIVES if name != "de"])
def test_every_primitive_is_finite_and_differentiable_on_cosines(name: str) -> None:
    arity = PRIMITIVES[name].arity
    graph = Graph((0.0,), (Operation(name, (0, 1)[:arity]),), (2,) if arity == 2 else (1, 2))
    for dtype in (torch.float32, torch.float64):
        x = EDGES.to(dtype).clone().requires_grad_()
        value = compiled_function(graph)(x)
        value.sum().backward()
        assert torch.isfinite(value).all() and x.grad is not None and torch.isfinite(x.grad).all()


def test_order_of_images_does_not_matter() -> None:
    x, pids = cosines()
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    loss = GMSLoss.preset("gms-c")
    torch.testing.assert_close(loss(x[order], pids[order]), loss(x, pids))


@pytest.mark.parametrize(("rows", "classes"), [(0, 4), (3, 1)])
def test_empty_batch_and_one_class_are_zero_with_a_graph(rows: int, classes: int) -> None:
    x = torch.zeros(rows, classes, requires_grad=True)
    loss = GMSLoss.preset("gms-a")(x, torch.zeros(rows, dtype=torch.long))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_images_of_no_class_do_not_count() -> None:
    x, pids = cosines()
    loss = GMSLoss.preset("circle")
    pids[1] = -1
    torch.testing.assert_close(loss(x, pids), loss(x[[0, 2, 3, 4, 5]], pids[[0, 2, 3, 4, 5]]))
    assert loss(x, torch.full_like(pids, -1)).item() == 0


def test_inputs_stay_as_they_are() -> None:
    x, pids = cosines()
    before = x.clone()
    GMSLoss.preset("circle")(x, pids), GMSSoftmax(9)(x, pids)
    assert torch.equal(x, before)


def test_a_constant_function_hangs_on_its_input() -> None:
    x = torch.ones(3, requires_grad=True)
    value = compiled_function(parse("exp(0.5)"))(x)
    value.sum().backward()
    assert value.tolist() == pytest.approx([math.exp(0.5)] * 3) and x.grad is not None and not x.grad.any()


def test_losses_copy_and_pickle() -> None:
    x, pids = cosines()
    loss = GMSLoss.preset("gms-c")
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(other(x, pids), loss(x, pids)) and repr(other) == repr(loss)


@pytest.mark.parametrize("scale", [math.nan, math.inf, 17.0, -17.0])
def test_scale_out_of_range(scale: float) -> None:
    with pytest.raises(GraphError, match="log2_scale"):
        GMSLoss(target="x", nontarget="x", log2_scale=scale)


def test_text_that_is_no_expression_shows_where() -> None:
    with pytest.raises(ParseError, match=r"(?s)\n.*\^"):
        GMSLoss(target="x +* 2", nontarget="x", log2_scale=4)


@pytest.mark.parametrize("function", [None, 0.5, b"x", PRESETS["circle"]])
def test_what_is_no_function_is_told(function: object) -> None:
    with pytest.raises(TypeError, match=r"a function is a text such as 'x - 0\.35', or a Graph"):
        GMSLoss(target=function, nontarget="x", log2_scale=4)  # type: ignore[arg-type]


def test_signs_as_papers_print_them() -> None:
    assert parse("x \N{MINUS SIGN} 0.5") == parse("x - 0.5") and parse("2 \N{MULTIPLICATION SIGN} x") == parse("2 * x")


def test_unknown_preset_lists_close_ones() -> None:
    with pytest.raises(GraphError, match="Did you mean cosface"):
        GMSLoss.preset("cosfase")


def slow_pairs(candidate: Candidate, embeddings: Tensor, pids: list[int]) -> float:
    unit = (embeddings / embeddings.norm(dim=1, keepdim=True)).tolist()
    losses = []
    for i, pid in enumerate(pids):
        similar = [sum(a * b for a, b in zip(unit[i], other, strict=True)) for other in unit]
        positive = [similar[j] for j, other in enumerate(pids) if other == pid and j != i]
        negative = [similar[j] for j, other in enumerate(pids) if other != pid]
        if positive and negative:
            s = candidate.scale
            of_negatives = sum(math.exp(s * interpret(candidate.nontarget, value)) for value in negative)
            of_positives = sum(math.exp(-s * interpret(candidate.target, value)) for value in positive)
            losses.append(math.log(1 + of_negatives * of_positives))
    return sum(losses) / max(1, len(losses))


@pytest.mark.parametrize("name", ["gms-pair", "circle", "gms-d"])
def test_pairs_are_equation_20(name: str) -> None:
    embeddings = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pids = [0, 0, 1, 1, 2, 2, 2, 3, 0]
    preset = PRESETS[name]
    loss = GMSPairwiseLoss(target=preset.target, nontarget=preset.nontarget, log2_scale=preset.log2_scale)
    value = loss(embeddings, torch.tensor(pids))
    assert value.item() == pytest.approx(slow_pairs(preset, embeddings, pids), rel=1e-9)


def test_pairs_with_circle_are_circle_loss() -> None:
    embeddings = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pids = torch.tensor([0, 0, 1, 1, 2, 2, 3, 4])
    candidate = circle(0.25, 6.0)
    ours = GMSPairwiseLoss(target=candidate.target, nontarget=candidate.nontarget, log2_scale=6.0)
    torch.testing.assert_close(ours(embeddings, pids), CircleLoss(margin=0.25, gamma=64.0)(embeddings, pids))


@pytest.mark.parametrize("pids", [[0, 0, 0], [0, 1, 2], []])
def test_pairs_without_comparison_are_zero_with_a_graph(pids: list[int]) -> None:
    embeddings = torch.randn(len(pids), 4, requires_grad=True)
    loss = GMSPairwiseLoss()(embeddings, torch.tensor(pids, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0 and embeddings.grad is not None and torch.isfinite(embeddings.grad).all()


def test_pairs_stay_finite_in_half_precision() -> None:
    embeddings = torch.randn(8, 4).half().requires_grad_()
    loss = GMSPairwiseLoss()(embeddings, torch.arange(8) // 2)
    loss.backward()
    assert torch.isfinite(loss) and embeddings.grad is not None and torch.isfinite(embeddings.grad).all()


TINY = ["PROJECTS", ["gms"], "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_osnet_backbone"]
TINY += ["MODEL.BACKBONE.DEPTH", "x0_25", "MODEL.HEADS.NUM_CLASSES", 3, "MODEL.HEADS.CLS_LAYER", "GMSSoftmax"]


def test_layer_and_pairs_from_config() -> None:
    names = ("CrossEntropyLoss", "GMSPairwiseLoss")
    options = [*TINY, "MODEL.GMS.TARGET", "x-0.25", "MODEL.GMS.NONTARGET", "x", "MODEL.GMS.LOG2_SCALE", 4.0]
    options += ["MODEL.LOSSES.NAME", names, "MODEL.LOSSES.GMS.LOG2_SCALE", 3.0, "MODEL.LOSSES.GMS.SCALE", 0.5]
    model = build_model(load_config("", options))
    layer, pairs = model.heads.cls_layer, model.criterion.losses["gms"]
    assert layer.candidate == Candidate(parse("x-0.25"), parse("x"), 4.0) and layer.scale == 16
    assert pairs.candidate == Candidate(PRESETS["gms-pair"].target, PRESETS["gms-pair"].nontarget, 3.0)
    batch = {"images": torch.rand(4, 3, 32, 16), "targets": torch.tensor([0, 0, 1, 1])}
    losses = model(batch)
    outputs = model.heads(model.backbone(model.preprocess(batch)), batch["targets"])
    assert losses["loss_gms"].item() == pytest.approx(0.5 * pairs(outputs["features"], batch["targets"]).item())
    cosine = normalize(outputs["features"]) @ normalize(model.heads.weight).T
    expected = torch.nn.functional.cross_entropy(layer(cosine, batch["targets"]), batch["targets"])
    torch.testing.assert_close(losses["loss_cls"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.GMS.PRESET", "gms-z"], "MODEL.GMS: unknown loss 'gms-z'. Did you mean gms-"),
        (["MODEL.GMS.TARGET", "x-0.3"], "MODEL.GMS.NONTARGET is missing"),
        (["MODEL.GMS.TARGET", "x", "MODEL.GMS.NONTARGET", "x"], "MODEL.GMS.LOG2_SCALE is missing"),
        (["MODEL.GMS.TARGET", "sinn(x)", "MODEL.GMS.NONTARGET", "x", "MODEL.GMS.LOG2_SCALE", 4.0], "MODEL.GMS.TARGET"),
        (["MODEL.GMS.LOG2_SCALE", 40.0], "log2_scale is 40"),
    ],
)
def test_mistakes_in_a_config_name_the_key(options: list[object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        build_model(load_config("", [*TINY, *options]))
