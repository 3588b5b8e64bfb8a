"""Q3_K's search: the codes of a sub-block are moved one at a time while that improves the fit.

Each step waits for the one before it, while most sub-blocks never move a code. Whether one does can be told
from its first sums, for all elements at once; the steps are then done for those alone, side by side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qformat_plugins.ggml.search import TINY, Search, every, grouped, nearest

ROUNDS = 5
BESIDE = 256  # sub-blocks that are moved side by side

Sums = tuple[Any, Any]  # of w * x * code and of w * code * code, with w = x * x


def refined_scale(blocks: Any, size: int, top: int, zero: Any) -> tuple[Any, Any, Any]:
    """Scales for codes -top … top - 1, one for each sub-block of ``size`` elements.

    Returns too whether a sub-block holds more than zeros, and a function that gives the codes that were
    found, plus ``top``, as ``[sub-blocks, size]``: few need them.
    """
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    search = Search(grouped(blocks, size), zero)
    (extreme,) = materialized(search.first_extreme())
    some = jnp.abs(extreme) >= jnp.float32(TINY)
    codes, sums = _first_codes(search, extreme, top)
    moves = some & _may_move(search, codes, sums, top)
    (both,) = materialized(lax.complex(_scale(sums, some), moves.astype(jnp.float32)))  # so it is one loop
    first, moves = lax.real(both).reshape(-1), lax.imag(both).reshape(-1)
    count = running_count(moves)
    moved = _moved_scales(blocks.reshape(-1, size), extreme.reshape(-1), count, top)
    place = jnp.maximum(count - 1, 0).astype(jnp.int32)
    scale = jnp.where(moves > 0, moved.at[place].get(mode="promise_in_bounds"), first)

    def own() -> Any:
        found = jnp.where(every(some), _all_moved(search, extreme, top) + top, 0)
        return jnp.swapaxes(found, -1, -2).reshape(-1, size)

    return scale, some.reshape(-1), own


def _first_codes(search: Search, extreme: Any, top: int) -> tuple[list[Any], Sums]:
    """Codes of every element by the largest one, and their sums."""
    import jax.numpy as jnp

    inverse = jnp.float32(-top) / extreme
    alone, rows = search.alone, [search.row(i) for i in range(search.size)]
    codes = [nearest(inverse * x, -top, top - 1) for x in rows]
    sx = s2 = None
    for x, code in zip(rows, codes, strict=True):
        a, b = alone(((x * x) * x) * code), alone(((x * x) * code) * code)
        sx, s2 = (a, b) if sx is None else (sx + a, s2 + b)
    return codes, (sx, s2)


def _scale(sums: Sums, some: Any) -> Any:
    """The scale of a fit; without ``some`` in the condition, too, the loop is not vectorized."""
    import jax.numpy as jnp

    sx, s2 = sums
    return jnp.where((s2 > 0) & some, sx / s2, 0)


def _without(search: Search, value: Any, code: Any, sums: Sums, top: int) -> tuple[Sums, Any]:
    """The sums without an element, and the code that would then suit it best."""
    weight = value * value
    less_x = sums[0] - search.alone((weight * value) * code)
    less_2 = sums[1] - search.alone((weight * code) * code)
    return (less_x, less_2), nearest(value * less_2 / less_x, -top, top - 1)


def _may_move(search: Search, codes: list[Any], sums: Sums, top: int) -> Any:
    """Whether the first round can move any code: until one is moved, the sums are the first.

    It cannot where no element has a better one. Whether the fit improves with it is left to the search.
    """
    found: Any = False
    for i, old in enumerate(codes):
        (less_x, _), new = _without(search, search.row(i), old, sums, top)
        found = found | ((less_x > 0) & (new != old))
    return found


def _moved(search: Search, value: Any, old: Any, sums: Sums, top: int) -> tuple[Any, Sums]:
    """The code of an element moved, where that improves the fit, and the sums with it."""
    import jax.numpy as jnp

    (sx, s2), weight = sums, value * value
    (less_x, less_2), new = _without(search, value, old, sums, top)
    new_x = less_x + search.alone((weight * value) * new)
    new_2 = less_2 + search.alone((weight * new) * new)
    better = (less_x > 0) & (new != old) & (new_2 > 0) & (new_x * new_x * s2 > sx * sx * new_2)
    return jnp.where(better, new, old), (jnp.where(better, new_x, sx), jnp.where(better, new_2, s2))


def running_count(flags: Any) -> Any:
    """The sums of flags up to each of them, ``[n]``; small products of matrices are faster than a scan."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import materialized

    n = flags.shape[0]
    width = math.gcd(n, 16)
    if width == 1:
        return jnp.cumsum(flags)
    upper = jnp.asarray(np.triu(np.ones((width, width), np.float32)))
    # Accelerators, too, are to count exactly.
    (counts,) = materialized(jnp.matmul(flags.reshape(-1, width), upper, precision="highest"))
    if n == width:
        return counts.reshape(-1)
    last = counts[:, -1]
    return materialized((counts + (running_count(last) - last)[:, None]).reshape(-1))[0]


def _moved_scales(rows: Any, extremes: Any, count: Any, top: int) -> Any:
    """The scales of the sub-blocks that are counted, in order, then whatever fills the array."""
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    n = len(rows)
    beside = min(n, BESIDE)
    chunks = (count[-1].astype(jnp.int32) + (beside - 1)) // beside

    def step(state: tuple[Any, Any]) -> tuple[Any, Any]:
        i, found = state
        numbers = i * beside + lax.iota(jnp.int32, beside)
        (places,) = materialized(_counted(count, numbers.astype(jnp.float32)))
        x, extreme = (a.at[places].get(mode="promise_in_bounds") for a in (rows, extremes))
        (x,) = materialized(*materialized(x.T))
        (extreme,) = materialized(extreme)
        scales = _refined(x, extreme, top)
        return i + 1, lax.dynamic_update_slice(found, scales, (i * beside,))

    start = jnp.int32(0), jnp.zeros(-(-n // beside) * beside, jnp.float32)
    return lax.while_loop(lambda state: state[0] < chunks, step, start)[1]


def _counted(count: Any, numbers: Any) -> Any:
    """The places at which a running count gets above each of some numbers, by bisection."""
    import jax.numpy as jnp

    n = count.shape[0]
    found = jnp.zeros(numbers.shape, jnp.int32)
    for step in (1 << k for k in reversed(range(n.bit_length()))):
        last = jnp.minimum(found + (step - 1), n - 1)
        below = count.at[last].get(mode="promise_in_bounds") <= numbers
        found = found + jnp.where(below, step, 0)
    return jnp.minimum(found, n - 1)


def _refined(x: Any, extreme: Any, top: int) -> Any:
    """The scales of sub-blocks after all rounds, which are written out: that makes one loop."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import hidden_zero, materialized

    search = Search(x, hidden_zero(x))  # a zero from outside the loop takes minutes to compile
    codes, sums = _first_codes(search, extreme, top)
    for k in range(ROUNDS * search.size):
        i = k % search.size
        codes[i], sums = _moved(search, search.row(i), codes[i], sums, top)
    return materialized(_scale(sums, jnp.abs(extreme) >= jnp.float32(TINY)))[0]


def _all_moved(search: Search, extreme: Any, top: int) -> Any:
    """The codes after all rounds; an array of codes and a loop are slower, and quicker to compile."""
    import jax.numpy as jnp
    from jax import lax

    first, sums = _first_codes(search, extreme, top)

    def step(k: Any, state: tuple[Any, Sums]) -> tuple[Any, Sums]:
        codes, sums = state
        i = k % search.size
        value, old = (lax.dynamic_index_in_dim(a, i, a.ndim - 2, keepdims=False) for a in (search.x, codes))
        new, sums = _moved(search, value, old, sums, top)
        return lax.dynamic_update_index_in_dim(codes, new, i, codes.ndim - 2), sums

    return lax.fori_loop(0, ROUNDS * search.size, step, (jnp.stack(first, axis=-2), sums))[0]
