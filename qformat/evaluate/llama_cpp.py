"""llama.cpp, through the optional llama-cpp-python: its C functions, as few as reading tokens takes."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint

BATCH = 512  # tokens read at once: llama.cpp's own default


def library() -> Any:
    """The module with llama.cpp's functions, silent from now on.

    Raises
    ------
    QFormatError
        If llama-cpp-python is not installed or cannot be loaded.
    """
    try:
        api = importlib.import_module("llama_cpp.llama_cpp")
    except (ImportError, OSError, RuntimeError) as error:
        raise QFormatError(
            f"llama.cpp cannot be loaded: {error}", hint="install it: pip install llama-cpp-python"
        ) from None
    api.llama_log_set(_silence(api), None)
    return api


_kept: list[Any] = []  # C holds it for good


def _silence(api: Any) -> Any:
    if not _kept:
        _kept.append(api.llama_log_callback(lambda *_: None))
    return _kept[0]


class LlamaCpp:
    """A GGUF in llama.cpp, with its defaults but for the threads."""

    def __init__(self, checkpoint: Checkpoint, room: int, threads: int) -> None:
        if checkpoint.format != "gguf":
            raise QFormatError(
                f"llama.cpp reads GGUF files only; this is {checkpoint.format}", file=checkpoint.path,
                hint="make one: qformat convert MODEL model.gguf --to gguf",
            )  # fmt: skip
        self._api = api = library()
        self._model = self._context = None
        path = str(sorted(checkpoint.files)[0])
        self._model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        if not self._model:
            raise QFormatError("llama.cpp cannot load this model", file=path)
        settings = api.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = room, BATCH, BATCH
        settings.n_threads = settings.n_threads_batch = threads
        self._context = api.llama_init_from_model(self._model, settings)
        if not self._context:
            raise QFormatError(f"llama.cpp has no room for {room} tokens", file=path)
        self.weight_bytes = int(api.llama_model_size(self._model))
        self.context = int(api.llama_model_n_ctx_train(self._model))
        self.vocabulary = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model)))

    def begin(self) -> None:
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), False)

    def read(self, ids: Sequence[int]) -> int:
        api = self._api
        for first in range(0, len(ids), BATCH):
            part = ids[first : first + BATCH]
            tokens = (api.llama_token * len(part))(*part)
            code = api.llama_decode(self._context, api.llama_batch_get_one(tokens, len(part)))
            if code:
                raise QFormatError(f"llama.cpp could not read {len(part)} tokens: its code is {code}")
        out = ctypes.cast(api.llama_get_logits_ith(self._context, -1), ctypes.POINTER(ctypes.c_float))
        return int(np.argmax(np.ctypeslib.as_array(out, (self.vocabulary,))))

    def close(self) -> None:
        if self._context:
            self._api.llama_free(self._context)
        if self._model:
            self._api.llama_model_free(self._model)
        self._context = self._model = None
