"""A page that shows what a model finds: curves, ranked galleries, activation maps."""
