"""Where checkpoints come from: GGUF, folders, planted; and how they are opened."""
