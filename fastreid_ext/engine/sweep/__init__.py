"""Many trainings from a few configs, and one table of what they came to."""
