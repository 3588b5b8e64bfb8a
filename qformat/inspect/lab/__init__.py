"""Quantization by hand: numbers as bits, a block under several schemes, outliers, block sizes."""
