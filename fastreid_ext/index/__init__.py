"""Nearest vectors: exact or approximate, in memory or on disk."""
