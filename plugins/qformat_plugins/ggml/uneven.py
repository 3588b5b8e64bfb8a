"""The search for the scale of codes that select from a table of uneven steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from qformat_plugins.ggml.search import TINY, Search, summed


def uneven_scale(search: Search, table: tuple[int, ...], around: int, weights: Any = None) -> Any:
    """The scale for codes that select from a table; the best of several trials.

    Elements have the ``weights`` of search.x's shape that are given, or else x * x.
    """
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import divided, materialized

    (extreme,) = materialized(search.first_extreme())
    offsets = np.arange(-around, around + 1, dtype=np.float32)
    numerators = jnp.asarray(np.concatenate([offsets[:1] * 0, offsets]) + np.float32(table[0]))

    def sums(inverse: Any) -> tuple[Any, Any]:
        def terms(x: Any, weight: Any = None) -> tuple[Any, Any]:
            entry = nearest_entry(inverse * x, table)
            once = (x * x if weight is None else weight) * entry
            return search.alone(once * x), search.alone(once * entry)

        given = () if weights is None else (weights,)
        (both,) = materialized(lax.complex(*summed(terms, search.x, *given)))
        return lax.real(both), lax.imag(both)

    first = materialized(1 / divided(extreme, -table[0], search.zero))[0]  # by way of the scale itself

    def step(i: Any, best: tuple[Any, Any]) -> tuple[Any, Any]:
        (trial,) = materialized(jnp.where(i == 0, first, numerators[i] / extreme))
        sx, s2 = sums(trial)
        scale = jnp.where(s2 > 0, sx / s2, 0)
        better = (i == 0) | ((s2 > 0) & (sx * sx > best[1] * s2))
        return jnp.where(better, scale, best[0]), jnp.where(better, scale * sx, best[1])

    nothing = jnp.zeros_like(extreme)
    scale, _ = lax.fori_loop(0, len(numerators), step, (nothing, nothing))
    return jnp.where(jnp.abs(extreme) < jnp.float32(TINY), 0, scale)


def nearest_entry(values: Any, table: tuple[int, ...]) -> Any:
    """The entry of a rising table nearest to each value, the higher one of equally near ones."""
    import jax.numpy as jnp

    found = jnp.float32(table[0])
    for low, high in pairwise(table):
        found = found + jnp.where(values >= jnp.float32((low + high) / 2), jnp.float32(high - low), 0)
    return found


def nearest_index(values: Any, table: tuple[int, ...]) -> Any:
    """The index of that entry, int32."""
    import jax.numpy as jnp

    middles = [(low + high) / 2 for low, high in pairwise(table)]
    return sum((values >= jnp.float32(middle)).astype(jnp.int32) for middle in middles)
