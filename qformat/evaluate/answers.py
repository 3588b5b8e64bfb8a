"""What a model says to a prompt: the likeliest token each time, so that answers can be compared."""

from __future__ import annotations

from typing import Any

from qformat.evaluate.pair import open_models
from qformat.files.checkpoint import Checkpoint

NEW_TOKENS = 48


def answer(checkpoint: Checkpoint, tokenizer: Any, prompt: str, dtype: str) -> str:
    """How a model goes on from a prompt, up to its end-of-text token or `NEW_TOKENS`.

    All of its weights are in memory meanwhile.
    """
    from qformat.model.generate import generate

    (model,) = open_models([checkpoint], dtype)
    made = generate(model, tokenizer.encode(prompt), max_new=NEW_TOKENS, stop_ids=tokenizer.eos)  # type: ignore[arg-type]
    return str(tokenizer.decode(made)).strip()
