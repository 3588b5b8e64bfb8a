"""What quantization cost: perplexity, divergence, quiz, speed, and the table of many schemes."""
