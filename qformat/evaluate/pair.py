"""Opening what is to be measured, and refusing what cannot be compared, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qformat.errors import QFormatError
from qformat.evaluate.stream import Model
from qformat.files.checkpoint import Checkpoint
from qformat.files.opening import Source, opened
from qformat.views.gguf_keys import gguf_keyvalues


class ComparisonError(QFormatError):
    """Two models that no measurement can compare."""


def open_models(sources: Sequence[Source], dtype: str) -> list[Model]:
    """Models of checkpoints; their tensors' names and shapes are checked here, from headers alone."""
    from qformat.model import open_model

    return [open_model(source, dtype=dtype) for source in sources]  # type: ignore[arg-type]


def common_tokenizer(checkpoints: list[Checkpoint], given: Source | None) -> Any:
    """The tokenizer of all: that of a file that was named, or the checkpoints' own, which must agree.

    Raises
    ------
    ComparisonError
        If two have different vocabularies, or none has a tokenizer.
    """
    from qformat.model.tokenizer_loading import load_tokenizer

    if given is not None:
        return load_tokenizer(opened(given))
    found = [(c, load_tokenizer(c)) for c in checkpoints if has_tokenizer(c)]
    if not found:
        raise ComparisonError(
            "there is no tokenizer in it",
            file=checkpoints[0].path,
            hint="name a model that has it: --tokenizer PATH",
        )
    (first, tokenizer), *others = found
    for checkpoint, other in others:
        if not tokenizer.same_as(other):
            raise ComparisonError(
                f"its vocabulary is not that of {first.path}: {tokenizer.difference(other)}",
                file=checkpoint.path,
                hint="only models that read the same tokens can be compared token by token",
            )
    return tokenizer


def has_tokenizer(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint carries a tokenizer: a file of its own, or a GGUF's vocabulary."""
    values = gguf_keyvalues(checkpoint)
    if values is not None:
        return "tokenizer.ggml.tokens" in values
    return bool({"tokenizer.json", "tokenizer.model"} & set(checkpoint.attachments))


def common_vocabulary(models: list[Model], notes: list[str]) -> int:
    """How many entries of the logits all models have; what only some have is left out, with a note."""
    sizes = {int(m.config.vocabulary) for m in models}
    if len(sizes) > 1:
        notes.append(
            f"the models have {' and '.join(f'{n:,}' for n in sorted(sizes))} rows of logits; "
            f"the first {min(sizes):,} are compared"
        )
    return min(sizes)
