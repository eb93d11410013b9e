"""Planted checkpoints: real architectures, tiny seeded weights, one activation of known value put in on purpose."""
