"""A measurement in groups of windows, so that there are figures before the end.

No head can speak before all layers were read. So windows are taken in groups: each group goes through
all layers and the heads before the next begins, which gives running estimates, an early stop and
something to show after Ctrl-C. Reading and decoding a layer costs as much as computing some hundred
tokens through it, whatever the model's size, so groups of `GROUP_TOKENS` make the repeated reading cheap.
Windows are taken in a random order (seeded), so that what is known early speaks for the whole text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qformat.evaluate import heads, stream
from qformat.evaluate.heads import Arrays
from qformat.evaluate.stream import Model, Route
from qformat.evaluate.windows import Windows

GROUP_TOKENS = 8192


@dataclass
class Tokens:
    """Where each scored token stands: its window, its place there, its place in the text, its id."""

    window: NDArray[np.int64]
    position: NDArray[np.int64]
    source: NDArray[np.int64]
    token: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.window)


@dataclass
class Engine:
    """Measures routes through models on windows, a group at a time; keeps what is done.

    With ``compare`` the first route is the original.
    """

    models: Sequence[Model]
    routes: Sequence[Route]
    windows: Windows
    vocabulary: int
    compare: bool
    seed: int = 0
    group_tokens: int = GROUP_TOKENS
    progress: Callable[[float], None] | None = None
    done: list[int] = field(default_factory=list)
    seconds: float = 0.0
    _parts: list[list[Arrays]] = field(default_factory=list)
    _steps: int = 0
    _total: int = 0

    def run(self) -> Iterator[None]:
        """Measure group by group; each is complete when this yields."""
        order = np.random.default_rng(self.seed).permutation(len(self.windows))
        size = max(1, self.group_tokens // self.windows.ctx)
        self._parts = [[] for _ in self.routes]
        self._total = self._applications() * self.windows.tokens.size
        self._total += len(self.routes) * int(self.windows.scored.sum())
        for start in range(0, len(order), size):
            begun = time.perf_counter()
            rows = np.sort(order[start : start + size])
            found = self.group(self.windows.take(rows))
            self.seconds += time.perf_counter() - begun
            self.done += rows.tolist()
            self._steps = self._total * len(self.done) // len(order)
            for parts, arrays in zip(self._parts, found, strict=True):
                parts.append(arrays)
            yield

    def group(self, windows: Windows) -> list[Arrays]:
        """Figures of some windows' scored tokens, for each route."""
        tokens, last = windows.tokens, windows.last
        hidden = stream.run(self.models, self.routes, tokens, last=last, progress=self._step)
        return heads.measure(
            self.models,
            self.routes,
            hidden,
            windows,
            vocabulary=self.vocabulary,
            compare=self.compare,
            progress=self._step,
        )

    def _step(self, tokens: int) -> None:
        self._steps += tokens
        if self.progress:
            self.progress(min(1.0, self._steps / self._total))

    def _applications(self) -> int:
        """How many times a window goes through a layer."""
        depth = len(self.routes[0].layers)
        return sum(len({r.upto(k + 1) for r in self.routes}) for k in range(depth))

    @property
    def complete(self) -> bool:
        return len(self.done) == len(self.windows)

    def tokens(self) -> Tokens:
        """The scored tokens of the windows that are done, in the text's order."""
        rows = np.sort(np.asarray(self.done, np.int64))
        taken = self.windows.take(rows)
        window, position = np.nonzero(taken.scored)
        return Tokens(rows[window], position, taken.source[taken.scored], taken.tokens[taken.scored])

    def arrays(self, route: int) -> Arrays:
        """The figures of one route, in the order of `tokens`."""
        joined = {n: np.concatenate([p[n] for p in self._parts[route]]) for n in self._parts[route][0]}
        counts = self.windows.scored.sum(axis=1)[self.done]
        order = np.argsort(np.repeat(self.done, counts), kind="stable")
        return {name: values[order] for name, values in joined.items()}
