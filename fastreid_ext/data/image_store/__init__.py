"""Decoded images, kept where there is room for them."""

from fastreid_ext.data.image_store.base import ImageStore, Rows
from fastreid_ext.data.image_store.choice import bytes_needed, choose_kind
from fastreid_ext.data.image_store.mapped import StoreFolderError, mapped_store
from fastreid_ext.data.image_store.stores import ImageStores
from fastreid_ext.data.image_store.streaming import StreamingStore
from fastreid_ext.data.image_store.tensor import TensorStore

__all__ = [
    "ImageStore",
    "ImageStores",
    "Rows",
    "StoreFolderError",
    "StreamingStore",
    "TensorStore",
    "bytes_needed",
    "choose_kind",
    "mapped_store",
]
