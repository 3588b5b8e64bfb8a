"""Makes the sample model of this repository from nothing: world, text, tokenizer, training, quiz."""
