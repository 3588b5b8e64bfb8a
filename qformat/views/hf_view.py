"""A GGUF model as a Hugging Face folder has it: names, storage, config.json and tokenizer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from qformat import families
from qformat.blocks.tiles import Tile
from qformat.files.checkpoint import Checkpoint
from qformat.files.gguf.keyvalues import KeyValues
from qformat.views.derived import DerivedCheckpoint
from qformat.views.source import TensorSource

ENDS = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id")


def hf_view(source: Checkpoint, values: KeyValues) -> DerivedCheckpoint:
    """See a GGUF as the Hugging Face model that it was made of.

    Raises
    ------
    FormatError
        If its architecture is not known, or its tensors are not those of its key-values.
    """
    from qformat.views import vocabulary_json

    model = model_of_keys(source, values)
    shapes = {name: info.shape for name, info in source.tensors.items()}
    files = {"config.json": (json.dumps(families.config_to_hf(model), indent=2) + "\n").encode()}
    files |= vocabulary_json.to_files({k: values.read(k) for k in values})
    return DerivedCheckpoint(source, families.to_hf(model, shapes), files)


def model_of_keys(source: Checkpoint, values: KeyValues) -> families.ModelConfig:
    """Describe the model of a checkpoint that has a GGUF's key-values.

    Raises
    ------
    FormatError
        If its architecture is not known, or a key is missing or says what cannot be.
    """
    plain = {k: _plain(values.read(k)) for k in values if k in ENDS or not k.startswith("tokenizer.")}
    shapes = {name: info.shape for name, info in source.tensors.items()}

    def load(name: str) -> np.ndarray[Any, Any]:
        tensor = TensorSource(source, source.tensors[name])
        whole = Tile(0, tensor.rows, 0, tensor.cols)
        return np.asarray(tensor.region(whole)).reshape(tensor.info.shape)

    return families.config_from_gguf(plain, shapes, load)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else list(value)
