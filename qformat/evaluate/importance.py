"""Collecting an importance matrix: what each matrix of a model is multiplied with, over a text.

As llama-imatrix does it: disjoint windows, each from its own beginning; for each matrix of a layer the
squares of its inputs are summed by column, for a stack of experts over the tokens of each.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.evaluate.page import check_target
from qformat.evaluate.pair import common_tokenizer, open_models
from qformat.evaluate.stream import CALL_TOKENS, Route, run
from qformat.evaluate.text import read_text, windows_of
from qformat.evaluate.windows import LLAMA_CPP
from qformat.files.imatrix import write_imatrix
from qformat.files.opening import Source, opened
from qformat.model.decoder import Kind
from qformat.model.model import Layer, Model
from qformat.model.rope import layer_angles
from qformat.model.watching import watched_block
from qformat.model.weights import dtype_named


@dataclass(frozen=True)
class Collected:
    """What was collected, and from what."""

    path: Path
    entries: int
    windows: int
    ctx: int
    unseen: tuple[str, ...]  # stacks of which some expert got no token


def collect(
    model: Source,
    text: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    tokenizer: Source | None = None,
    ctx: int | None = None,
    limit: int | None = None,
    dtype: str = "f32",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Run a text through a model and write its importance matrix, as GGUF.

    Parameters
    ----------
    ctx, limit
        Tokens of a window, by default 512; use only so many windows, from the beginning.
    dtype
        What the model is computed in: ``"f32"`` or ``"bf16"``.
    progress
        Called with tokens that went through a layer since the last call, and how many there will be.

    Raises
    ------
    QFormatError
        For a model that cannot be run, a text that does not fill two windows, and NaN.
    """
    target = Path(output)
    check_target(target, overwrite=overwrite)
    read = read_text(text)
    source = opened(model)
    (made,) = open_models([source], dtype_named(dtype))
    words = common_tokenizer([source], tokenizer)
    _, windows = windows_of(read, words, made.config, protocol=LLAMA_CPP, ctx=ctx, stride=None)
    tokens = windows.tokens[:limit]
    size = max(1, CALL_TOKENS // windows.ctx)  # whole calls only: filling would be counted, too
    tokens = tokens[: len(tokens) // size * size] if len(tokens) > size else tokens
    sums, counts = squares(made, tokens, progress=progress)  # type: ignore[arg-type]
    write_imatrix(
        target, sums, counts,
        datasets=[str(read.path)], chunks=len(tokens), chunk_size=windows.ctx, overwrite=overwrite,
    )  # fmt: skip
    unseen = tuple(name for name, many in counts.items() if not many.all())
    return Collected(target, len(sums), len(tokens), windows.ctx, unseen)


Sums = Mapping[str, NDArray[np.float64]]


def squares(
    model: Model, tokens: NDArray[np.int32], *, progress: Callable[[int, int], None] | None = None
) -> tuple[Sums, Sums]:
    """Sums of squares ``[matrices, cols]`` and counts ``[matrices]`` for each matrix of all layers.

    ``tokens`` are windows ``[n, ctx]``: as many as go through a layer in one call, or a multiple of that.
    """
    watched = _Watched(model)
    total = tokens.size * model.config.layers
    told = None if progress is None else lambda done: progress(done, total)
    # One call at a time: the order of adding up is always the same, and with it the last bit.
    run([watched], [Route.through(0, model.config.layers)], tokens, calls=1, progress=told)
    return watched.squares, watched.counts


class _Watched:
    """A model whose layers add up what their projections read, by tensor, in float64."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.config = model.config
        self.checkpoint = model.checkpoint
        self.embed = model.embed
        self.head = model.head
        self.squares: dict[str, NDArray[np.float64]] = {}
        self.counts: dict[str, NDArray[np.float64]] = {}

    def layer(self, index: int) -> Callable[[Any], Any]:
        layer = self.model.layer(index)
        return functools.partial(self._through, layer)

    def _through(self, layer: Layer, hidden: Any, *, last: int) -> Any:
        angles = layer_angles(self.config, layer.index, hidden.shape[1])
        kind = Kind.of(self.config, layer.index)
        out, squares, counts = watched_block(self.config, kind, layer.params, hidden, angles)
        self._add(layer.index, squares, counts)
        return out[:, -last:]

    def _add(self, index: int, squares: Mapping[str, Any], counts: Mapping[str, Any]) -> None:
        """To each tensor that a projection is made of: they all read the same."""
        for parameter in self.model.weights.parameters(index):
            if parameter.name not in squares:
                continue
            for piece in parameter.pieces:
                self._more(self.squares, piece.tensor, squares[parameter.name])
                self._more(self.counts, piece.tensor, counts[parameter.name])

    @staticmethod
    def _more(sums: dict[str, NDArray[np.float64]], name: str, values: Any) -> None:
        more = np.asarray(values, np.float64)
        sums[name] = sums[name] + more if name in sums else more
