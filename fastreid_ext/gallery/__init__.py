"""Folders of images that are searched by images."""

from fastreid_ext.gallery.adding import Added, Model
from fastreid_ext.gallery.errors import AddingStopped, GalleryError
from fastreid_ext.gallery.gallery import Gallery
from fastreid_ext.gallery.item import Hit, Item, Label
from fastreid_ext.gallery.sources import LAYOUTS, items_of

__all__ = ["LAYOUTS", "Added", "AddingStopped", "Gallery", "GalleryError", "Hit", "Item", "Label", "Model", "items_of"]
