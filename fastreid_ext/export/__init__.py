"""Models for other programs: ONNX, torch.export, safetensors."""

from fastreid_ext.export.errors import ExportError
from fastreid_ext.export.exporting import FORMATS, Exported, export_model

__all__ = ["FORMATS", "ExportError", "Exported", "export_model"]
