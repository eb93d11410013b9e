"""What quantizing activations costs: perplexity with chosen sites quantized in the forward pass."""
