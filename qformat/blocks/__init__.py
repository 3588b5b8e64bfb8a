"""Bits, planes and layouts of block-quantized tensors. NumPy only."""
