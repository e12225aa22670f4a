"""A toolbox for object re-identification that reads FastReID's configs and weights."""

__version__ = "0.1.0"
