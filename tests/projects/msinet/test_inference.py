"""The prepared network gives what the network gives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from batch_norms import randomize_batch_norms
from torch import Tensor, nn

from fastreid_ext.config import load_config
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.folding import fold_batch_norms
from fastreid_ext.modeling.inference import prepare_for_inference
from fastreid_ext.projects.msinet import INTERACTIONS, PRESETS, MSINet
from fastreid_ext.projects.msinet.backbone import MSIBackbone
from fastreid_ext.projects.msinet.cell import FUSIONS, MSICell, conv1x1
from fastreid_ext.projects.msinet.inference import InferenceCell


def randomized(model: nn.Module) -> nn.Module:
    """The model in evaluation, with drawn statistics and affine parameters of norms, and attention switched on."""
    randomize_batch_norms(model)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.3)
    return model.eval()


def maps(output: Tensor | dict[str, Tensor]) -> Iterator[Tensor]:
    yield from [output] if isinstance(output, Tensor) else output.values()


def assert_equal(model: nn.Module, prepared: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        for ours, theirs in zip(maps(prepared(images)), maps(model(images)), strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours / theirs.abs().max(), theirs / theirs.abs().max(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("named_maps", [True, False])
@pytest.mark.parametrize("genotype", PRESETS)
def test_genotypes(genotype: str, named_maps: bool) -> None:
    model = randomized(MSINet(genotype, named_maps=named_maps))
    prepared = prepare_for_inference(model)
    assert not any(isinstance(module, nn.BatchNorm2d | MSICell) for module in prepared.modules())
    for size in ((2, 3, 64, 32), (1, 3, 256, 128)):
        assert_equal(model, prepared, torch.randn(size))
        assert_equal(model, prepared, torch.randn(size).contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("depths", [(1, 3), (2, 1)])
def test_fusions_and_scale_ratios(fusion: str, depths: tuple[int, int]) -> None:
    model = randomized(MSINet("NEGANEGANEGA", fusion=fusion, depths=depths))
    prepared = prepare_for_inference(model)
    merged = sum(isinstance(module, InferenceCell) for module in prepared.modules())
    assert merged == (0 if fusion == "mul" else 6)
    assert_equal(model, prepared, torch.randn(3, 3, 64, 32))


class DataDependent(nn.Module):
    """An interaction that cannot be traced and keeps no channels apart."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = conv1x1(channels, channels)

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        return (self.mix(x1), x1) if x2.mean() > x1.mean() else (x2, self.mix(x2))


def test_interactions_of_others_and_mixtures_of_cells() -> None:
    def cell(index: int, inputs: int, width: int) -> MSICell:
        return MSICell(inputs, width, interactions=[DataDependent, INTERACTIONS.get("A")], inner=8)

    model = randomized(MSIBackbone(cell, channels=(16, 32, 32, 48), named_maps=True))
    prepared = prepare_for_inference(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.stages.modules())
    assert sum(isinstance(module, InferenceCell) for module in prepared.modules()) == 6
    assert_equal(model, prepared, torch.randn(2, 3, 64, 32))


class Doubled(MSICell):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_cells_that_compute_something_else_stay() -> None:
    pair = [INTERACTIONS.get("G")] * 2
    model = randomized(nn.Sequential(Doubled(3, 8, interactions=pair), MSICell(8, 8, interactions=pair, inner=4)))
    prepared = prepare_for_inference(model)
    assert [type(cell) for cell in prepared] == [Doubled, InferenceCell]
    assert_equal(model, prepared, torch.randn(2, 3, 8, 8))


def test_cells_whose_norms_cannot_be_folded_stay() -> None:
    model = randomized(MSINet("N" * 12))
    model.stages[0][0].exits[0][1] = nn.GroupNorm(4, 256)
    prepared = prepare_for_inference(model)
    assert sum(isinstance(module, InferenceCell) for module in prepared.modules()) == 5
    assert_equal(model, prepared, torch.randn(2, 3, 64, 32))


@pytest.mark.parametrize("head", ["TwoBranchHead", "EmbeddingHead"])
@pytest.mark.parametrize("test_feat", ["before", "after"])
def test_whole_models(head: str, test_feat: str) -> None:
    options = ["MODEL.HEADS.NAME", head, "MODEL.MSINET.TEST_FEAT", test_feat, "MODEL.HEADS.WITH_BNNECK", True]
    cfg = load_config("msinet/quickstart", [*options, "MODEL.HEADS.NUM_CLASSES", 7, "MODEL.DEVICE", "cpu"])
    model = randomized(build_model(cfg))
    model.criterion.temperature = nn.Parameter(torch.ones(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepared = prepare_for_inference(model)
    images = torch.randint(0, 256, (3, 3, 64, 32), dtype=torch.uint8)
    assert_equal(model, prepared, images)
    assert_equal(model, prepare_for_inference(prepared), images)
    assert not any(name.startswith("criterion.") for name in prepared.state_dict())
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert model.criterion is not None and all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(("height", "width"), [(256, 128), (256, 256)])
def test_output_of_every_prepared_stage(height: int, width: int) -> None:
    model = prepare_for_inference(MSINet(named_maps=True))
    shapes = []
    for stage in [model.stem, *model.stages, *model.reductions]:
        stage.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        model(torch.rand(1, 3, height, width))
    h, w = height // 4, width // 4
    assert [channels for channels, *_ in shapes] == [64, 256, 256, 384, 384, 512]
    assert [size for _, *size in shapes] == [[h, w]] + [[h // 2**i, w // 2**i] for i in (0, 1, 1, 2, 2)]


def test_maps_stay_channels_last() -> None:
    prepared = prepare_for_inference(randomized(MSINet("A" * 12)))
    layouts = []
    for cell in [cell for stage in prepared.stages for cell in stage]:
        for layer in (cell.interaction1, cell.interaction2, cell):
            layer.register_forward_hook(lambda module, inputs, output: layouts.extend(maps_of(output)))
    with torch.no_grad():
        prepared(torch.rand(2, 3, 64, 32))
    assert len(layouts) == 30 and all(x.is_contiguous(memory_format=torch.channels_last) for x in layouts)


def maps_of(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (output,) if isinstance(output, Tensor) else output


def test_attention_keeps_the_layout_and_its_values() -> None:
    attention = INTERACTIONS.get("A")(6)
    nn.init.constant_(attention.gamma, 0.7)
    x1, x2 = torch.randn(2, 2, 6, 4, 3)
    last = [x.contiguous(memory_format=torch.channels_last) for x in (x1, x2)]
    for contiguous, channels_last in zip(attention(x1, x2), attention(*last), strict=True):
        assert contiguous.is_contiguous() and channels_last.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(contiguous, channels_last, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_of_a_cell(fusion: str) -> None:
    pair = [INTERACTIONS.get("G"), INTERACTIONS.get("A")]
    cell = MSICell(3, 4, interactions=pair, inner=4, fusion=fusion).double().eval()
    nn.init.constant_(cell.interaction2.gamma, 0.3)
    x = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cell, (x,))


def test_folded_alone_keeps_the_cells() -> None:
    model = randomized(MSINet("G" * 12))
    folded = fold_batch_norms(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert sum(isinstance(module, MSICell) for module in folded.modules()) == 6
    assert_equal(model, folded, torch.randn(2, 3, 64, 32))
