"""Packages of torch.export."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from fastreid_ext.export.traced import quiet
from fastreid_ext.inference.card import ModelCard
from fastreid_ext.inference.program_embedder import CARD_FILE

__all__ = ["write_program"]


def write_program(path: Path, program: ExportedProgram, card: ModelCard) -> None:
    """Writes a traced model, its card in an extra file; it runs with torch alone."""
    with quiet():
        torch.export.save(program, path, extra_files={CARD_FILE: card.to_json()})
