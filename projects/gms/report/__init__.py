"""The search's report: one HTML file that needs nothing else."""

from fastreid_ext.projects.gms.report.page import write_report

__all__ = ["write_report"]
