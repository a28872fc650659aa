"""Checkpoints of other projects, read safely and translated to our names."""
