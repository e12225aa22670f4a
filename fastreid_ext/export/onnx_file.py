"""ONNX files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from fastreid_ext.export.errors import ExportError
from fastreid_ext.export.traced import quiet
from fastreid_ext.inference.card import ModelCard
from fastreid_ext.inference.exported import CARD_KEY
from fastreid_ext.inference.onnx_embedder import INPUT, OUTPUT
from fastreid_ext.utils.env import require

__all__ = ["caller", "save_with_card", "write_onnx"]

# Of 2022, so that old runtimes read the files, too; later ones bring nothing that these models need.
_OPSET = 18
_OPERATOR = re.compile(r"op='([\w.]+)'|torch\.ops\.(\w+\.\w+)")


def write_onnx(path: Path, program: ExportedProgram, card: ModelCard) -> None:
    """Writes a traced model, its card in the metadata; input `images` and output `embeddings` take any batch size.

    Raises:
        ExportError: ONNX has nothing for one of its operators; it names the operator and the module.
        ImportError: onnx or onnxscript is not installed.
    """
    require("onnx", "export", "export to ONNX")
    require("onnxscript", "export", "export to ONNX")
    example = torch.empty(0)
    with quiet():
        try:
            converted: Any = torch.onnx.export(
                program,
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
        # The exporter's own kinds of errors are not public.
        except Exception as error:
            raise ExportError(_reason(error, program)) from error
    save_with_card(path, converted.model_proto, card)


def save_with_card(path: Path, model: Any, card: ModelCard) -> None:
    """Writes an `onnx.ModelProto` with a card, and without what the exporter notes of the machine's source files."""
    onnx = require("onnx", "export", "export to ONNX")
    graph = model.graph
    for part in (graph.node, graph.initializer, graph.value_info, graph.input, graph.output):
        for entry in part:
            del entry.metadata_props[:]
    del graph.metadata_props[:]
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.save(model, path)


def _reason(error: Exception, program: ExportedProgram) -> str:
    """A sentence from a chain of errors, the innermost of which knows the operator."""
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    found = next(filter(None, (_OPERATOR.search(str(link)) for link in reversed(chain))), None)
    if found is None:
        return f"the model cannot be written as ONNX: {str(chain[-1]).splitlines()[0]}"
    operator = found[1] or found[2]
    calls = f", which {module} calls" if (module := caller(operator, program)) else ""
    return (
        f"ONNX has no counterpart of the operator {operator}{calls}. Write it with other operators, or export to .pt2 "
        "or .safetensors, which take any"
    )


def caller(operator: str, program: ExportedProgram) -> str:
    """Name and kind of the module that calls an operator, itself or within another; "" if that cannot be known."""
    for node in program.run_decompositions().graph.nodes:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        if str(node.target).startswith(f"{operator}.") and stack:
            name, kind = stack[-1]
            return f"{name} ({str(kind).rpartition('.')[2]})"
    return ""
