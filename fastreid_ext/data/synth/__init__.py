"""The renderer of SynthReID."""
