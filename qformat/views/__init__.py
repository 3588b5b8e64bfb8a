"""Any checkpoint under other names and in other storage: as GGUF has it, as Hugging Face has it.

Tensors are made while they are read, region by region; vocabularies go from one form to the other.
"""
