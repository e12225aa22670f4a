import math

import pytest
import torch

from fastreid_ext.config import ConfigError, get_cfg, load_config
from fastreid_ext.solver import automatic_rate, build_optimizer, rate_of_data_size


@pytest.mark.parametrize(
    ("images", "rate"),
    [(37_775, 0.01040), (12_936, 0.00544), (277_797, 0.01964), (300_000, 0.02), (1_000_000, 0.02558)],
)
def test_equation_4(images: int, rate: float) -> None:
    assert rate_of_data_size(images) == pytest.approx(rate, abs=6e-6)
    by_hand = 0.02 * (math.log10(images) - math.log10(4e3)) / (math.log10(3e5) - math.log10(4e3))
    assert rate_of_data_size(images) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("images", [0, 1, 4_000, 4_751])
def test_small_data_have_the_floor(images: int) -> None:
    # The paper's Table 2 has 0.001 for 4,751 images.
    assert rate_of_data_size(images) == 0.001


def test_the_rate_goes_with_the_batch() -> None:
    cfg = get_cfg()
    for batch, factor in ((256, 1.0), (64, 0.25), (512, 2.0)):
        cfg.SOLVER.IMS_PER_BATCH = batch
        assert automatic_rate(cfg, 37_775) == pytest.approx(factor * rate_of_data_size(37_775))


def test_auto_and_numbers_take_turns(tmp_path) -> None:  # type: ignore[no-untyped-def]
    base = tmp_path / "base.yml"
    base.write_text("SOLVER: {BASE_LR: auto}\n")
    above = tmp_path / "above.yml"
    above.write_text("_BASE_: base.yml\nSOLVER: {BASE_LR: 1}\n")
    assert load_config(base).SOLVER.BASE_LR == "auto"
    for cfg in (load_config(above), *(load_config(base, ["SOLVER.BASE_LR", one]) for one in ("1", 1))):
        assert cfg.SOLVER.BASE_LR == 1.0 and isinstance(cfg.SOLVER.BASE_LR, float)
    assert load_config(above, ["SOLVER.BASE_LR", "auto"]).SOLVER.BASE_LR == "auto"


@pytest.mark.parametrize("value", ["automatic", "Auto", "[1.0]", True])
def test_what_is_neither_number_nor_auto_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"SOLVER.BASE_LR .* takes a float such as 1.0 or auto"):
        load_config("", ["SOLVER.BASE_LR", value])
    with pytest.raises(ConfigError, match=r"SOLVER\.GAMMA"):
        load_config("", ["SOLVER.GAMMA", "auto"])


def test_an_optimizer_needs_a_number() -> None:
    with pytest.raises(ConfigError, match=r"SOLVER.BASE_LR is auto.*automatic_rate"):
        build_optimizer(load_config("", ["SOLVER.BASE_LR", "auto"]), torch.nn.Linear(2, 2))
