"""maxact: how large activations get in open language models, and where."""

__version__ = "0.1.0"
