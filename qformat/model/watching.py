"""Running a layer while looking at what its projections read: sums of squares, by input column."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Params = Mapping[str, Any]


class Watching(Mapping[str, Any]):
    """A layer's parameters, and what was read by its projections while it was traced.

    ``squares`` has for each projection ``[matrices, cols]`` and ``counts`` ``[matrices]``: the sum of the
    squares of its inputs, and how many inputs there were; a stack of experts has one matrix for each.
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        self.squares: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def saw(self, name: str, x: Any) -> None:
        """A projection read ``x`` ``[..., cols]``."""
        flat = x.reshape(-1, x.shape[-1])
        self.squares[f"{name}.weight"] = jnp.sum(flat * flat, axis=0)[None]
        self.counts[f"{name}.weight"] = jnp.full(1, len(flat), jnp.float32)

    def saw_runs(self, names: tuple[str, ...], count: int, owners: Any, squares: Any, tokens: Any) -> None:
        """Experts read runs of tokens: sums of squares ``[runs, cols]`` and tokens ``[runs]``, by owner."""
        sums = jnp.zeros((count, squares.shape[1]), jnp.float32).at[owners].add(squares)
        many = jnp.zeros(count, jnp.float32).at[owners].add(tokens.astype(jnp.float32))
        for name in names:
            self.squares[f"{name}.weight"], self.counts[f"{name}.weight"] = sums, many


@functools.partial(jax.jit, static_argnames=("config", "kind"))
def watched_block(
    config: Any, kind: Any, params: Params, hidden: Any, angles: Any
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A layer's output for sequences from the first position on, and what its projections read."""
    from qformat.model.attention import Positions
    from qformat.model.decoder import block

    seen = Watching(params)
    out, _ = block(config, kind, seen, hidden, Positions(0, angles))
    return out, seen.squares, seen.counts
