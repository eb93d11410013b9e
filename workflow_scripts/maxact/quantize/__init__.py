"""Reconstruction errors of number formats, from stored histograms."""
