"""The adapter without FastReID: what it says, and that it is never in the way."""

from __future__ import annotations

import ast
import collections
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import fastreid_ext
from fastreid_ext.compat import fastreid as ext
from fastreid_ext.compat.importing import import_original
from fastreid_ext.compat.inside_config import add_missing_keys
from fastreid_ext.compat.training import keep_gradients, trains
from fastreid_ext.config import CfgNode, ConfigError, get_cfg

WITHOUT = {
    "absent": (ModuleNotFoundError("No module named 'fastreid'", name="fastreid"), "pip install --no-deps fastreid"),
    "Mapping": (ImportError("cannot import name 'Mapping' from 'collections'", name="collections"), "make_importable"),
    "torch._six": (ModuleNotFoundError("No module named 'torch._six'", name="torch._six"), "make_importable"),
    "faiss": (ModuleNotFoundError("No module named 'faiss'", name="faiss"), "No module named 'faiss'.*FastReID needs"),
}
CALLS: dict[str, Callable[[], object]] = {
    "register": lambda: ext.register(get_cfg(), "adasp"),
    "register_dataset": lambda: ext.register_dataset("Mine", "MarketLayout:/data/mine"),
    "make_trainable": ext.make_trainable,
    "ExtBaseline": lambda: ext.ExtBaseline,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("error", "said"), WITHOUT.values(), ids=WITHOUT)
def test_says_what_to_do_where_fastreid_does_not_import(
    call: Callable[[], object], error: ImportError, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> ModuleType:
        assert name.startswith("fastreid.")
        raise error

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(ImportError, match=said):
        call()


def test_missing_module_is_named() -> None:
    with pytest.raises(ImportError, match=r"fastreid\.no_such_module does not import"):
        import_original("fastreid.no_such_module")


def imports_fastreid(path: Path) -> bool:
    """Whether importing the file imports FastReID."""
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    froms = [node.module or "" for node in statements if isinstance(node, ast.ImportFrom)]
    plain = [alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names]
    return any(name.split(".")[0] == "fastreid" for name in froms + plain)


def test_fastreid_is_imported_by_none_but_the_parts_that_live_in_it() -> None:
    package = Path(fastreid_ext.__file__).parent
    inside = {"inside_datasets", "inside_models", "inside_parts", "inside_registries"}
    assert {path.stem for path in package.rglob("*.py") if imports_fastreid(path)} == inside


def test_the_adapter_does_not_need_these_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("fastreid_ext.compat")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("fastreid", *(f"fastreid_ext.compat.inside_{part}" for part in ("models", "parts", "registries"))):
        monkeypatch.setitem(sys.modules, name, None)
    again = importlib.import_module("fastreid_ext.compat.fastreid")
    assert again is not ext and again.__name__ == "fastreid_ext.compat.fastreid"


def test_makes_importable_what_old_code_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._six", raising=False)
    for name in ("Mapping", "Iterable"):
        monkeypatch.setattr(collections, name, None, raising=False)
        monkeypatch.delattr(collections, name)
    counter = collections.Counter
    ext.make_importable()
    namespace: dict[str, type] = {}
    exec("from collections import Iterable, Mapping\nfrom torch._six import string_classes", namespace)
    assert isinstance({}, namespace["Mapping"]) and isinstance([], namespace["Iterable"])
    assert isinstance("text", namespace["string_classes"])
    assert collections.Counter is counter


def test_unknown_attributes_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute ExtBasline"):
        ext.ExtBasline  # type: ignore[attr-defined]  # noqa: B018


def test_adds_the_keys_that_a_config_lacks_and_changes_none() -> None:
    cfg = CfgNode({"MODEL": {"DEVICE": "theirs", "HEADS": {"SCALE": 1}}})
    add_missing_keys(cfg, ["adasp"])
    assert cfg.MODEL.DEVICE == "theirs" and type(cfg.MODEL.HEADS.SCALE) is int
    assert cfg.MODEL.LOSSES.ADASP.TEMPERATURE == 0.04 and cfg.PROJECTS == ["adasp"]
    cfg.MODEL.LOSSES.ADASP.TEMPERATURE = 0.5
    cfg.freeze()
    add_missing_keys(cfg, ["adasp"])
    assert cfg.MODEL.LOSSES.ADASP.TEMPERATURE == 0.5
    with pytest.raises(ConfigError, match=r"frozen.*MODEL\.LOSSES\.GROUP.*before cfg\.freeze"):
        add_missing_keys(cfg, ["grouploss"])


@pytest.mark.parametrize("theirs", [{"SOLVER": {"EMA": 0.9}}, {"MODEL": {"DEVICE": {"NAME": "cpu"}}}], ids=str)
def test_refuses_keys_of_another_kind(theirs: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="cannot be used together"):
        add_missing_keys(CfgNode(theirs), [])


def test_kept_gradients_are_set_to_zero() -> None:
    class Trainer:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    assert not trains(Trainer)
    keep_gradients(Trainer)
    keep_gradients(Trainer)
    assert trains(Trainer)
    weight = nn.Parameter(torch.ones(2))
    gradient = weight.grad = torch.ones(2)
    Trainer(torch.optim.SGD([weight], lr=0.1)).optimizer.zero_grad()
    assert weight.grad is gradient and gradient.tolist() == [0, 0]
