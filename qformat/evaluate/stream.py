"""Layer streaming: all windows go through layer k before layer k + 1 is read.

Activations stay in host memory, or in a temporary file if they are large, so that what is held of the
models does not depend on their size: one layer in use and one being read ahead. Several models advance
together, and so do mixtures of them: a `Route` names the model of each part, and what two routes
have in common is computed once.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from qformat.errors import DataError

CALL_TOKENS = 512  # what goes through a layer in one call, at least one window: it stays in cache
CALLS = 2  # at a time: while the threads of one wait for each other, those of the other compute
MAPPED_FROM = 1 << 30  # bytes of one array of activations from which it lies in a temporary file

Hidden = NDArray[np.float32]
T = TypeVar("T")
R = TypeVar("R")


class Head(Protocol):
    """The final norm and the product that gives logits: a frozen dataclass with these members."""

    @property
    def params(self) -> Any: ...
    def apply(self, params: Any, hidden: Any) -> Any: ...


class Model(Protocol):
    """What streaming needs of a model; `qformat.model.open_model` gives it."""

    config: Any
    checkpoint: Any

    def embed(self, tokens: NDArray[np.int32]) -> Any: ...
    def layer(self, index: int) -> Callable[..., Any]: ...
    def head(self) -> Head: ...


@dataclass(frozen=True)
class Route:
    """Which model (by its number) each part of the way is taken from.

    ``rounded`` rounds the activations to bfloat16 after each layer, which is what a run in that type
    costs at the least.
    """

    embed: int
    layers: tuple[int, ...]
    head: int
    rounded: bool = False

    @classmethod
    def through(cls, model: int, layers: int, *, rounded: bool = False) -> Route:
        """All the way through one model."""
        return cls(model, (model,) * layers, model, rounded)

    def upto(self, layer: int) -> _Part:
        """What decides about the activations that enter a layer."""
        return self.embed, self.layers[:layer], self.rounded


_Part = tuple[int, tuple[int, ...], bool]


def run(
    models: Sequence[Model],
    routes: Sequence[Route],
    tokens: NDArray[np.int32],
    *,
    last: int | None = None,
    calls: int = CALLS,
    progress: Callable[[int], None] | None = None,
) -> list[Hidden]:
    """Activations ``[windows, ctx, width]`` after the last layer, for each route.

    With ``last`` only so many last places of each window have them: the others go as far as the last
    layer looks at them and no further. A layer is called for so many ``calls`` at a time. ``progress``
    is called with the number of tokens that went through a layer since the last time.

    Raises
    ------
    DataError
        As soon as a layer gives NaN or infinity, naming model and layer.
    """
    depth = len(routes[0].layers)
    states = _embedded(models, routes, tokens)
    for (k, number), layer in ahead(_reads(models, routes, depth)):
        for part in dict.fromkeys(r.upto(k) for r in routes if r.layers[k] == number):
            others = {r.layers[k] for r in routes if r.upto(k) == part and r.layers[k] > number}
            below = states[part]
            out = _room(below.shape) if others else states.pop(part)
            only = last if k == depth - 1 else None
            for count in _through(layer, below, out, last=only, rounded=part[2], calls=calls):
                if progress:
                    progress(count * below.shape[1])
            if not _finite(out):
                raise _not_finite(models[number], f"layer {k}")
            states[part[0], (*part[1], number), part[2]] = out
    return [states[r.upto(depth)] for r in routes]


def _reads(
    models: Sequence[Model], routes: Sequence[Route], depth: int
) -> Iterator[tuple[tuple[int, int], Callable[[], Any]]]:
    for k in range(depth):
        for number in sorted({r.layers[k] for r in routes}):
            yield (k, number), functools.partial(models[number].layer, k)


def ahead(reads: Iterable[tuple[Any, Callable[[], Any]]]) -> Iterator[tuple[Any, Any]]:
    """Results of calls in order, each next one made by a thread while the last is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting: tuple[Any, Future[Any]] | None = None
        try:
            for name, read in reads:
                ready, waiting = waiting, (name, pool.submit(read))
                if ready is not None:
                    yield ready[0], ready[1].result()
            if waiting is not None:
                yield waiting[0], waiting[1].result()
        finally:
            if waiting is not None:
                waiting[1].cancel()


def _embedded(
    models: Sequence[Model], routes: Sequence[Route], tokens: NDArray[np.int32]
) -> dict[_Part, Hidden]:
    states: dict[_Part, Hidden] = {}
    for part in dict.fromkeys(r.upto(0) for r in routes):
        model = models[part[0]]
        out = _room((*tokens.shape, int(model.config.width)))
        for rows in _calls(tokens.shape):
            out[rows] = _kept(model.embed(tokens[rows]), rounded=part[2])
        if not _finite(out):
            raise _not_finite(model, "the embedding")
        states[part] = out
    return states


def _through(
    layer: Callable[..., Any],
    below: Hidden,
    out: Hidden,
    *,
    last: int | None,
    rounded: bool,
    calls: int,
) -> Iterator[int]:
    """All windows through a layer, in calls of one shape, so that one compiled function serves them.

    Gives how many windows each call had.
    """
    cut = list(_calls(below.shape[:2]))
    last = last or below.shape[1]
    size = cut[0].stop

    def call(rows: slice) -> int:
        count = int(rows.stop - rows.start)
        part = below[rows]
        if count < size:
            part = np.concatenate([part, np.zeros((size - count, *part.shape[1:]), part.dtype)])
        out[rows, -last:] = _kept(layer(part, last=last), rounded=rounded)[:count]
        return count

    return together(call, cut, calls)


def together(function: Callable[[T], R], items: Iterable[T], calls: int = CALLS) -> Iterator[R]:
    """Results of a function in the order of ``items``, so many calls at a time; a stop stops them all."""
    with ThreadPoolExecutor(calls, thread_name_prefix="layer") as pool:
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(cancel_futures=True)


def _kept(values: Any, *, rounded: bool) -> Hidden:
    array = np.asarray(values, np.float32)
    return array.astype(ml_dtypes.bfloat16).astype(np.float32) if rounded else array


def _calls(shape: tuple[int, ...]) -> Iterator[slice]:
    windows, ctx = shape
    size = max(1, min(windows, CALL_TOKENS // ctx))
    for start in range(0, windows, size):
        yield slice(start, min(start + size, windows))


def _room(shape: tuple[int, ...]) -> Hidden:
    """An array of activations; a large one lies in a file that is gone with it."""
    count = int(np.prod(shape))
    if count * 4 < MAPPED_FROM:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile(prefix="qformat-") as file:
        file.truncate(count * 4)
        return np.memmap(file, np.float32, "r+", shape=shape)


def _finite(values: Hidden) -> bool:
    return all(np.isfinite(np.add.reduce(row, axis=None)) for row in values)


def _not_finite(model: Model, part: str) -> DataError:
    return DataError(
        f"{part} gives values that are not numbers (NaN or infinity)",
        file=model.checkpoint.path,
        hint="a weight is damaged or overflows: look with `qformat inspect --sort error`",
    )
