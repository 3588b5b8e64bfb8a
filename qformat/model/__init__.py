"""The reference forward pass in JAX, tokenizers and generation."""
