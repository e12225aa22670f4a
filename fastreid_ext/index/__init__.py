"""Vectors and their nearest neighbours: exact or, by faiss, approximate."""

from fastreid_ext.index.base import Index, IndexFileError, Kind, Vectors
from fastreid_ext.index.build import KINDS, build_index, load_index
from fastreid_ext.index.exact import ExactIndex

__all__ = ["KINDS", "ExactIndex", "Index", "IndexFileError", "Kind", "Vectors", "build_index", "load_index"]
