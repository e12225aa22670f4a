"""Searches: strategies that propose candidates, workers that score them, a file that keeps every trial."""
