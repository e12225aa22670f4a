"""Data sets, samplers, transforms and loaders."""
