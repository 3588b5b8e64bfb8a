"""A text's tokens cut into windows, by one of two protocols."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qformat.errors import QFormatError

WINDOW, LLAMA_CPP = "window", "llama.cpp"
PROTOCOLS = (WINDOW, LLAMA_CPP)


class TextError(QFormatError):
    """A text that cannot be measured on: too short, not UTF-8, not there."""


@dataclass(frozen=True)
class Windows:
    """Rows of tokens that a model reads, each from its own beginning.

    ``scored[i, j]`` says whether ``tokens[i, j]`` is a token whose probability counts; the first of
    a window never is. ``source[i, j]`` is its place in the text's tokens, or -1 for what was put
    there: a beginning-of-text token, or the filling behind the text's end. Each window has a scored token.
    """

    tokens: NDArray[np.int32]
    scored: NDArray[np.bool_]
    source: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def ctx(self) -> int:
        return int(self.tokens.shape[1])

    @property
    def last(self) -> int:
        """How many places at a window's end speak about scored tokens: each about the one after it."""
        return self.ctx + 1 - int(self.scored.any(axis=0).argmax())

    def take(self, rows: NDArray[np.int64] | Sequence[int]) -> Windows:
        """Some of the windows."""
        return Windows(self.tokens[rows], self.scored[rows], self.source[rows])


def cut(
    tokens: Sequence[int],
    *,
    ctx: int,
    protocol: str = WINDOW,
    stride: int | None = None,
    bos: int | None = None,
) -> Windows:
    """Cut a text's tokens into windows of ``ctx``.

    ``window``: each begins with ``bos``, if there is one, followed by the text; every token after the
    first of a window is scored, up to the text's last. With a ``stride`` each window begins that many
    tokens after the one before, and only tokens that none scored yet are scored, so that each has a
    longer past. ``llama.cpp``: disjoint windows, the first token of each overwritten by ``bos``, only
    the second half scored (from token ctx/2 + 1), and what is left over at the end dropped, as
    llama-perplexity does. The caller puts ``bos`` before the text too in that protocol.

    >>> windows = cut([5, 6, 7, 8, 9], ctx=4, bos=1)
    >>> windows.tokens.tolist(), windows.scored.tolist()[1]
    ([[1, 5, 6, 7], [1, 8, 9, 0]], [False, True, True, False])

    Raises
    ------
    TextError
        If the text does not fill a window, or two of them for ``llama.cpp``, or a window is too short.
    """
    text = np.asarray(tokens, np.int32)
    least, taker = (
        (2 * ctx, "two windows take")
        if protocol == LLAMA_CPP
        else (ctx - (bos is not None), "a window takes")
    )
    if len(text) < least:
        most = len(text) // 2 if protocol == LLAMA_CPP else len(text) + (bos is not None)
        shorter = f", or a shorter window: --ctx {most}" if most > 2 else ""
        raise TextError(
            f"the text has {len(text)} tokens; {taker} {least}", hint=f"use a longer text{shorter}"
        )
    windows = (
        _as_llama_cpp(text, ctx, bos) if protocol == LLAMA_CPP else _sliding(text, ctx, stride or ctx, bos)
    )
    windows = windows.take(np.flatnonzero(windows.scored.any(axis=1)))
    if not len(windows):
        raise TextError(f"no token of a window of {ctx} is scored", hint="use a longer window: --ctx 512")
    return windows


def _as_llama_cpp(text: NDArray[np.int32], ctx: int, bos: int | None) -> Windows:
    count = len(text) // ctx
    rows = text[: count * ctx].reshape(count, ctx).copy()
    source = np.arange(count * ctx, dtype=np.int64).reshape(count, ctx)
    if bos is not None:
        rows[:, 0] = bos
        source[:, 0] = -1
    scored = np.zeros(rows.shape, np.bool_)
    scored[:, ctx // 2 + 1 :] = True
    return Windows(rows, scored, source)


def _sliding(text: NDArray[np.int32], ctx: int, stride: int, bos: int | None) -> Windows:
    lead = int(bos is not None)
    room = ctx - lead
    step = min(stride, room)
    starts = [0]
    while starts[-1] + room < len(text):
        starts.append(starts[-1] + step)
    shape = (len(starts), ctx)
    rows, source = np.zeros(shape, np.int32), np.full(shape, -1, np.int64)
    scored = np.zeros(shape, np.bool_)
    done = 0
    for i, start in enumerate(starts):
        stop = min(start + room, len(text))
        at = np.arange(start, stop)
        rows[i, lead : lead + len(at)] = text[start:stop]
        source[i, lead : lead + len(at)] = at
        scored[i, lead : lead + len(at)] = at >= done
        done = stop
    if bos is not None:
        rows[:, 0] = bos
    scored[:, 0] = False
    return Windows(rows, scored, source)


def token_digest(windows: Windows) -> str:
    """SHA-256 over what was read and what was scored: the same digest, the same measurement."""
    found = hashlib.sha256(np.array(windows.tokens.shape, "<i8").tobytes())
    found.update(windows.tokens.astype("<i4").tobytes())
    found.update(np.packbits(windows.scored).tobytes())
    return found.hexdigest()
