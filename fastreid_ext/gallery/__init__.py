"""Galleries on disk: embeddings of images that are searched, and added to."""
