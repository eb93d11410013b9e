"""Tokenizers that belong to no checkpoint of the study: trained on its corpus, or taken from a hub."""
