"""The last step of a group of windows: heads in blocks of tokens, and every token's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.errors import DataError
from qformat.evaluate import measures
from qformat.evaluate.stream import Head, Hidden, Model, Route
from qformat.evaluate.windows import Windows

BLOCK_LOGITS = 1 << 23  # logits of one block of tokens
HEADS_BYTES = 1 << 30  # of the heads that are held together, besides the original's
Arrays = dict[str, NDArray[Any]]


def block_tokens(vocabulary: int) -> int:
    """How many tokens a block has: enough for a quick product, few enough for a small memory."""
    return max(32, min(1024, 1 << (BLOCK_LOGITS // vocabulary).bit_length() - 1))


def measure(
    models: Sequence[Model],
    routes: Sequence[Route],
    hidden: Sequence[Hidden],
    windows: Windows,
    *,
    vocabulary: int,
    compare: bool,
    progress: Callable[[int], None] | None = None,
) -> list[Arrays]:
    """Figures of all scored tokens, in order, for each route.

    With ``compare`` the first route is the original, and the others have divergences from it; its
    logits are computed once for as many of the others as have heads that fit in memory together.

    Raises
    ------
    DataError
        For logits that are NaN, naming the model.
    """
    before, targets = _scored(windows)
    parts: list[list[Arrays]] = [[] for _ in routes]
    first = models[routes[0].head].head()
    size = block_tokens(vocabulary)
    room = max(1, HEADS_BYTES // (4 * vocabulary * hidden[0].shape[-1]))
    for chunk in _chunks(routes, room):
        heads = {
            n: first if n == routes[0].head else models[n].head() for n in {routes[i].head for i in chunk}
        }
        for start in range(0, len(targets), size):
            rows = before[start : start + size]
            true = np.resize(targets[start : start + size], size)
            states = {i: _filled(hidden[i].reshape(-1, hidden[i].shape[-1])[rows], size) for i in {0, *chunk}}
            original = None
            if compare and chunk != [0]:
                original = measures.logits_of(measures.bare(first), vocabulary)(first.params, states[0])
            for i in chunk:
                found = _block(heads[routes[i].head], states[i], original if i else None, true, vocabulary)
                parts[i].append({name: np.asarray(v)[: len(rows)] for name, v in found.items()})
                if progress:
                    progress(len(rows))
    joined = [_joined(p) for p in parts]
    for route, arrays in zip(routes, joined, strict=True):
        _check(models[route.head], arrays, windows)
    return joined


def _chunks(routes: Sequence[Route], room: int) -> list[list[int]]:
    """The routes by their number, so that each part has at most ``room`` heads besides the original's."""
    chunks: list[list[int]] = [[]]
    for i, route in enumerate(routes):
        others = {routes[k].head for k in (*chunks[-1], i)} - {routes[0].head}
        if chunks[-1] and len(others) > room and route.head in others:
            chunks.append([])
        chunks[-1].append(i)
    return chunks


def _scored(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The flat places whose activations predict a scored token, and those tokens."""
    at = np.flatnonzero(windows.scored)
    return at - 1, windows.tokens.reshape(-1)[at]


def _filled(rows: Hidden, size: int) -> Hidden:
    if len(rows) == size:
        return rows
    return np.concatenate([rows, np.zeros((size - len(rows), rows.shape[1]), rows.dtype)])


def _block(head: Head, states: Hidden, original: Any, true: NDArray[np.int32], vocabulary: int) -> Any:
    bare = measures.bare(head)
    if original is None:
        return measures.alone(bare, vocabulary)(head.params, states, true)
    return measures.against(bare, vocabulary)(head.params, states, original, true)


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _check(model: Model, arrays: Arrays, windows: Windows) -> None:
    bad = ~np.isfinite(arrays["nll"])
    if not bad.any():
        return
    _, position = np.argwhere(windows.scored)[int(np.argmax(bad))]
    raise DataError(
        f"the logits are not numbers (NaN or infinity), first at token {position} of a window",
        file=model.checkpoint.path,
        tensor="output",
        hint="a weight of the output head or the final norm is damaged: look with `qformat inspect`",
    )
