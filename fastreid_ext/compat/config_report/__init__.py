"""What a config of FastReID does here: in words, with what differs, what looks wrong, and its modern form."""

from fastreid_ext.compat.config_report.explain import Explanation, explain
from fastreid_ext.compat.config_report.found import Found, check_targets, find_configs
from fastreid_ext.compat.config_report.network import build_network
from fastreid_ext.compat.config_report.old_config import check_options
from fastreid_ext.compat.config_report.report import report, reports
from fastreid_ext.compat.config_report.summary import summary
from fastreid_ext.compat.config_report.weights import fit

__all__ = [
    "Explanation",
    "Found",
    "build_network",
    "check_options",
    "check_targets",
    "explain",
    "find_configs",
    "fit",
    "report",
    "reports",
    "summary",
]
