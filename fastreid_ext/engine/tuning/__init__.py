"""The search for inference strategies: settings of a trained model that need no training."""
