"""What a config of FastReID does here: in words, with what differs, what looks wrong, and its modern form."""

from fastreid_ext.compat.config_report.explain import Explanation, explain
from fastreid_ext.compat.config_report.network import build_network
from fastreid_ext.compat.config_report.report import report
from fastreid_ext.compat.config_report.summary import find_configs, summary
from fastreid_ext.compat.config_report.weights import fit

__all__ = ["Explanation", "build_network", "explain", "find_configs", "fit", "report", "summary"]
