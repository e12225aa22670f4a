"""MSINet against the paper's figures and against loops."""

import math

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.config import ConfigError, load_config
from fastreid_ext.modeling import build_model
from fastreid_ext.projects.msinet import INTERACTIONS, PRESETS, MSINet, TwoBranchHead, parse_genotype
from fastreid_ext.registry import RegistryError


def parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_parameter_count_is_the_papers() -> None:
    # NOTES: 2.328 M without classifiers.
    assert parameters(MSINet(), TwoBranchHead()) == 2_328_163


@pytest.mark.parametrize(("height", "width"), [(256, 128), (256, 256)])
def test_output_of_every_stage(height: int, width: int) -> None:
    model = MSINet(named_maps=True).eval()
    shapes = []
    for stage in [model.stem, *model.stages, *model.reductions]:
        stage.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        maps = model(torch.rand(1, 3, height, width))
    h, w = height // 4, width // 4
    assert shapes == [
        (64, h, w),
        (256, h, w),
        (256, h // 2, w // 2),
        (384, h // 2, w // 2),
        (384, h // 4, w // 4),
        (512, h // 4, w // 4),
    ]
    assert maps["last"].shape == (1, 512, h // 4, w // 4)
    assert maps["local"].shape == (1, 384, h // 4, w // 4)


def test_plain_call_returns_the_last_map() -> None:
    images = torch.rand(2, 3, 64, 32)
    model = MSINet(genotype="GGEGAGGNGAEA").eval()
    named = MSINet(named_maps=True).eval()
    named.load_state_dict(model.state_dict())
    assert torch.equal(model(images), named(images)["last"])


def test_every_parameter_gets_a_gradient() -> None:
    model, head = MSINet(named_maps=True), TwoBranchHead(num_classes=5)
    # Attention starts switched off: its queries and keys would get no gradient.
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.5)
    outputs = head(model(torch.rand(4, 3, 64, 32)), torch.tensor([0, 1, 2, 3]))["branches"]
    sum(branch["cls_outputs"].square().sum() for branch in outputs.values()).backward()
    idle = [name for name, p in [*model.named_parameters(), *head.named_parameters()] if p.grad is None]
    assert idle == []


def attention_loop(own: Tensor, other: Tensor, gamma: float) -> Tensor:
    """Section 3.2 of the paper, an image, a channel and a position at a time."""
    result = own.clone()
    for b in range(own.shape[0]):
        query, key = own[b].flatten(1), other[b].flatten(1)
        for c in range(own.shape[1]):
            energy = [float(query[c] @ key[d]) for d in range(own.shape[1])]
            weights = [math.exp(max(energy) - e - (max(energy) - min(energy))) for e in energy]
            attended = sum(w / sum(weights) * query[d] for d, w in enumerate(weights))
            result[b, c] += gamma * attended.view_as(own[b, c])
    return result


def test_cross_attention_equals_a_loop() -> None:
    x1, x2 = torch.randn(2, 2, 6, 3, 2, dtype=torch.float64)
    attention = INTERACTIONS.get("A")(6).double()
    nn.init.constant_(attention.gamma, 0.7)
    y1, y2 = attention(x1, x2)
    torch.testing.assert_close(y1, attention_loop(x1, x2, 0.7), rtol=0, atol=1e-12)
    torch.testing.assert_close(y2, attention_loop(x2, x1, 0.7), rtol=0, atol=1e-12)


def test_cross_attention_starts_as_the_identity_and_stays_finite() -> None:
    x1, x2 = 1e4 * torch.randn(2, 2, 6, 3, 2)
    attention = INTERACTIONS.get("A")(6)
    assert torch.equal(attention(x1, x2)[0], x1)
    nn.init.ones_(attention.gamma)
    assert all(torch.isfinite(y).all() for y in attention(x1, x2))


def test_channel_gate_equals_a_loop() -> None:
    x1, x2 = torch.randn(2, 2, 32, 3, 2, dtype=torch.float64)
    gate = INTERACTIONS.get("G")(32).double()
    first, second = gate.mlp[0], gate.mlp[2]
    for x, y in zip((x1, x2), gate(x1, x2), strict=True):
        for b in range(2):
            mean = x[b].flatten(1).mean(1)
            hidden = (first.weight.flatten(1) @ mean + first.bias).relu()
            weights = torch.sigmoid(second.weight.flatten(1) @ hidden + second.bias)
            torch.testing.assert_close(y[b], x[b] * weights[:, None, None], rtol=0, atol=1e-12)


def test_none_and_exchange() -> None:
    x1, x2 = torch.randn(2, 1, 4, 2, 2)
    assert INTERACTIONS.get("N")(4)(x1, x2)[0] is x1
    assert INTERACTIONS.get("E")(4)(x1, x2) == (x2, x1)


def test_local_branch_sees_the_two_halves() -> None:
    head = TwoBranchHead(num_classes=3).eval()
    last, local = torch.rand(2, 512, 4, 2), torch.rand(2, 384, 4, 2)
    flipped = torch.cat((local[:, :, 2:], local[:, :, :2]), dim=2)
    swap = torch.cat((torch.arange(128, 256), torch.arange(128)))
    # Exchanging the halves exchanges the inputs of the linear layer.
    one = head({"last": last, "local": local})
    head.local_branch.linear.weight.data = head.local_branch.linear.weight.data[:, swap]
    other = head({"last": last, "local": flipped})
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ("GGEGAGGNGAE", "has 11 letters; it needs 12"),
        ("GGEGAGGNGAEX", "has 'X' at position 12; letters: N"),
        ("MSINet-VRR", "Did you mean the preset MSINet-VR"),
        ("ggegaggngaea", "Letters are capitals: GGEGAGGNGAEA"),
        ("", r"\(MODEL.MSINET.GENOTYPE\) has 0 letters"),
        (None, "is a string of letters, not None"),
    ],
)
def test_bad_genotypes(genotype: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MSINet(genotype)


def test_presets_are_table_7() -> None:
    assert set(PRESETS) == {"MSINet", "MSINet-VR", "MSINet-S"}
    assert all(parse_genotype(name) == letters and len(letters) == 12 for name, letters in PRESETS.items())


def test_config_builds_the_whole_model() -> None:
    cfg = load_config("msinet/quickstart", ["MODEL.HEADS.NUM_CLASSES", 7, "MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    batch = {"images": torch.randint(0, 256, (8, 3, 64, 32), dtype=torch.uint8), "targets": torch.arange(8) // 2}
    losses = model(batch)
    assert set(losses) == {
        "loss_cls_global",
        "loss_cls_local",
        "loss_triplet_global",
        "loss_triplet_local",
    }
    assert model.eval()(batch).shape == (8, 768)


def test_backbone_serves_one_map_heads() -> None:
    cfg = load_config(
        "msinet/quickstart", ["MODEL.HEADS.NAME", "EmbeddingHead", "MODEL.HEADS.NUM_CLASSES", 7, "MODEL.DEVICE", "cpu"]
    )
    assert build_model(cfg).eval()(torch.rand(2, 3, 64, 32)).shape == (2, 512)


def test_two_branch_head_needs_two_maps() -> None:
    with pytest.raises(ConfigError, match='maps "last" and "local"'):
        TwoBranchHead(num_classes=2)(torch.rand(2, 512, 4, 2), torch.tensor([0, 1]))


def test_unknown_interaction_lists_the_known() -> None:
    with pytest.raises(RegistryError, match="Registered: A, E, G, N"):
        INTERACTIONS.get("Z")
