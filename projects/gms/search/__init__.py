"""The search for losses."""

from fastreid_ext.projects.gms.search.loss_search import AutoLossGMS
from fastreid_ext.projects.gms.search.proxy import ProxyTask

__all__ = ["AutoLossGMS", "ProxyTask"]
