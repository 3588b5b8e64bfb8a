"""A model that reads tokens to be timed: in this program, or in llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint

OURS, LLAMA_CPP = "ours", "llama.cpp"


class Runner(Protocol):
    """A model in memory that reads one sequence.

    Attributes
    ----------
    weight_bytes
        Of its weights in memory.
    vocabulary, context
        Tokens it knows, and the most it can read; 0 if that is not said.
    """

    weight_bytes: int
    vocabulary: int
    context: int

    def begin(self) -> None:
        """Forget what was read."""

    def read(self, ids: Sequence[int]) -> int:
        """Read tokens after those before; the likeliest next one."""

    def close(self) -> None:
        """Give the memory back."""


class Ours:
    """A checkpoint's model in this program, with quantized matrices as they are."""

    def __init__(self, checkpoint: Checkpoint, room: int, dtype: str) -> None:
        import jax

        from qformat.model import open_model
        from qformat.model.weights import dtype_named

        self._model: Any = open_model(checkpoint, dtype_named(dtype))
        config = self._model.config
        self._room, self.vocabulary, self.context = room, int(config.vocabulary), int(config.context)
        layers, head = self._model.packed() if self._model.is_quantized else self._model.resident()
        self.weight_bytes = sum(a.nbytes for a in jax.tree.leaves([*(x.params for x in layers), head.params]))
        self._session: Any = None

    def begin(self) -> None:
        from qformat.model.generate import Session

        self._session = Session(self._model, self._room)

    def read(self, ids: Sequence[int]) -> int:
        return int(np.argmax(self._session.feed(ids)))

    def close(self) -> None:
        self._session = self._model = None


def _ours(checkpoint: Checkpoint, room: int, dtype: str, _threads: int) -> Runner:
    return Ours(checkpoint, room, dtype)


def _llama_cpp(checkpoint: Checkpoint, room: int, _dtype: str, threads: int) -> Runner:
    from qformat.evaluate.llama_cpp import LlamaCpp

    return LlamaCpp(checkpoint, room, threads)


RUNNERS: dict[str, Callable[[Checkpoint, int, str, int], Runner]] = {OURS: _ours, LLAMA_CPP: _llama_cpp}


def runner(engine: str, checkpoint: Checkpoint, *, room: int, dtype: str, threads: int) -> Runner:
    """Load a model to read up to ``room`` tokens.

    Raises
    ------
    QFormatError
        For an unknown engine, one that is not installed, or a model that it cannot run.
    """
    check_engine(engine)
    return RUNNERS[engine](checkpoint, room, dtype, threads)


def check_engine(engine: str) -> None:
    """Refuse an engine that is unknown or not installed.

    Raises
    ------
    QFormatError
        It says how to install it.
    """
    if engine not in RUNNERS:
        raise QFormatError(f"there is no engine {engine!r}", hint=f"known: {', '.join(RUNNERS)}")
    if engine == LLAMA_CPP:
        from qformat.evaluate.llama_cpp import library

        library()
