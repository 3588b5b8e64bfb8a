"""The searches by which ggml chooses scales of sub-blocks, for many sub-blocks side by side.

Arrays are ``[elements of a sub-block, sub-blocks]``: a step of the search is a sum over the first
axis, written out in order because the last bit depends on it, and vectorized over the second.
A product that something is added to passes through `Search.alone`: the reference rounds it on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

TINY = 1e-15  # a sub-block of nothing larger counts as zero


@dataclass(frozen=True)
class Fit:
    """What a search found, one of each per sub-block.

    ``inverse`` and ``base`` give the codes of the best step, round(inverse * (x - base)): they
    remain where the coded scale becomes zero.
    """

    scale: Any
    low: Any
    inverse: Any
    base: Any
    codes: Any = None


class Search:
    """Sub-blocks ``x`` and the arithmetic on them."""

    def __init__(self, x: Any, zero: Any) -> None:
        self.x = x
        self.zero = zero
        self.size = x.shape[0]

    def alone(self, product: Any) -> Any:
        return product + self.zero

    def total(self, term: Callable[[Any], Any]) -> Any:
        """The sum of ``term(x[i])`` over the elements, in order."""
        found = term(self.x[0])
        for i in range(1, self.size):
            found = found + term(self.x[i])
        return found

    def extremes(self) -> tuple[Any, Any]:
        low = high = self.x[0]
        for i in range(1, self.size):
            low, high = smaller(self.x[i], low), larger(self.x[i], high)
        return low, high

    def first_extreme(self) -> Any:
        """The element of the largest magnitude, the first of equals."""
        import jax.numpy as jnp

        found = self.x[0]
        for i in range(1, self.size):
            found = jnp.where(jnp.abs(self.x[i]) > jnp.abs(found), self.x[i], found)
        return found


def smaller(a: Any, b: Any) -> Any:
    """The minimum, without the heed for NaN that costs three instructions."""
    import jax.numpy as jnp

    return jnp.where(a < b, a, b)


def larger(a: Any, b: Any) -> Any:
    """The maximum, likewise."""
    import jax.numpy as jnp

    return jnp.where(a > b, a, b)


def nearest(values: Any, low: int, high: int) -> Any:
    """Rounded half to even and clipped, still as floats."""
    import jax.numpy as jnp
    from jax import lax

    steps = lax.round(values, lax.RoundingMethod.TO_NEAREST_EVEN)
    return smaller(larger(steps, jnp.float32(low)), jnp.float32(high))


def transposed(blocks: Any, size: int) -> Any:
    """Blocks ``[n, elements]`` as sub-blocks ``[size, n * elements / size]``."""
    from qformat.schemes.numerics import materialized

    return materialized(blocks.reshape(-1, size).T)[0]


# --- scale and minimum: Q2_K, Q4_K, Q5_K ----------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """The inverse scales that are tried: (top + first + i * width) / range, i = 0 … count - 1."""

    top: int
    first: float
    width: float
    count: int

    def numerators(self) -> Any:
        step = np.float32(self.width) * np.arange(self.count, dtype=np.float32)
        return np.float32(self.first) + step + np.float32(self.top)


def scale_and_low(search: Search, steps: Steps, weight: Callable[[Any], Any], *, absolute: bool) -> Fit:
    """Least squares of scale and minimum for each trial rounding; the best by weighted error stays.

    The minimum of the best fit so far is what the next trial rounds from.
    """
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    low, high = search.extremes()
    low, high = materialized(smaller(low, jnp.float32(0)), high)
    (sum_w,) = materialized(search.total(weight))
    (sum_wx,) = materialized(search.total(lambda x: search.alone(weight(x) * x)))
    (inverse,) = materialized(jnp.float32(steps.top) / (high - low))
    (scale,) = materialized(1 / inverse)

    def codes(x: Any, inverse: Any, base: Any) -> Any:
        return nearest(inverse * (x - base), 0, steps.top)

    def error(inverse: Any, base: Any, scale: Any, low: Any) -> Any:
        def term(x: Any) -> Any:
            off = (search.alone(scale * codes(x, inverse, base)) + low) - x
            return search.alone(weight(x) * (jnp.abs(off) if absolute else off * off))

        return materialized(search.total(term))[0]

    def fit(inverse: Any, base: Any) -> tuple[Any, Any]:
        def terms(x: Any) -> tuple[Any, Any, Any]:
            code = codes(x, inverse, base)
            once = search.alone(weight(x) * code)
            return once, search.alone(once * code), search.alone(once * x)

        s1, s2, sx = terms(search.x[0])
        for i in range(1, search.size):
            a, b, c = terms(search.x[i])
            s1, s2, sx = s1 + a, s2 + b, sx + c
        return least_squares(search, sum_w, sum_wx, s1, s2, sx)

    numerators = jnp.asarray(steps.numerators())

    def step(i: Any, best: tuple[Any, ...]) -> tuple[Any, ...]:
        least, base = best[0], best[2]
        (trial,) = materialized(numerators[i] / (high - base))
        new_scale, new_low = fit(trial, base)
        found = error(trial, base, new_scale, new_low)
        new = (found, new_scale, new_low, trial, base)
        return tuple(jnp.where(found < least, a, b) for a, b in zip(new, best, strict=True))

    first = (error(inverse, low, scale, low), scale, low, inverse, low)
    best = lax.fori_loop(0, steps.count, step, first)
    flat = high == low
    return Fit(jnp.where(flat, 0, best[1]), best[2], jnp.where(flat, 0, best[3]), best[4])


def least_squares(search: Search, w: Any, wx: Any, s1: Any, s2: Any, sx: Any) -> tuple[Any, Any]:
    """Scale and minimum (at most zero) from the weighted sums of 1, x, code, code**2 and code * x.

    Both travel as one complex number, so that the sums are one pass and not two.
    """
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    alone = search.alone
    det = alone(w * s2) - alone(s1 * s1)
    scale = alone(w * sx) - alone(wx * s1)
    low = alone(s2 * wx) - alone(s1 * sx)
    above = low > 0
    by = jnp.where(det > 0, jnp.where(above, s2, det), jnp.float32(np.nan))
    scale = jnp.where(above, sx, scale) / by
    low = jnp.where(above, 0, low / larger(det, jnp.float32(1e-38)))
    (both,) = materialized(lax.complex(scale, low))
    return lax.real(both), lax.imag(both)


# --- a signed scale: Q6_K ---------------------------------------------------------------------------


def signed_scale(search: Search, top: int) -> Fit:
    """The scale of 19 trials that fits best, weighted by x * x; codes are -top … top - 1."""
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    (extreme,) = materialized(search.first_extreme())
    offsets = [0, *(i for i in range(-9, 10) if i)]
    tenths = np.float32(0.1) * np.asarray(offsets, np.float32)
    numerators = jnp.asarray(-(np.float32(top) + tenths))

    def sums(inverse: Any) -> tuple[Any, Any]:
        def terms(x: Any) -> tuple[Any, Any]:
            code = nearest(inverse * x, -top, top - 1)
            weight = x * x
            return search.alone((weight * x) * code), search.alone((weight * code) * code)

        sx, s2 = terms(search.x[0])
        for i in range(1, search.size):
            a, b = terms(search.x[i])
            sx, s2 = sx + a, s2 + b
        (both,) = materialized(lax.complex(sx, s2))
        return lax.real(both), lax.imag(both)

    def step(i: Any, best: tuple[Any, Any, Any]) -> tuple[Any, ...]:
        (inverse,) = materialized(numerators[i] / extreme)
        sx, s2 = sums(inverse)
        scale = jnp.where(s2 != 0, sx / s2, 0)
        better = jnp.where(i == 0, True, (s2 > 0) & (sx * sx > best[1] * s2))
        new = (scale, scale * sx, inverse)
        return tuple(jnp.where(better, a, b) for a, b in zip(new, best, strict=True))

    nothing = jnp.zeros_like(extreme)
    scale, _, inverse = lax.fori_loop(0, len(offsets), step, (nothing, nothing, nothing))
    zero = jnp.abs(extreme) < jnp.float32(TINY)
    return Fit(jnp.where(zero, 0, scale), None, jnp.where(zero, jnp.nan, inverse), None)


# --- a signed scale, refined element by element: Q3_K -------------------------------------------------


def refined_scale(search: Search, top: int) -> Fit:
    """The scale for codes -top … top - 1 that are moved one at a time while the fit improves.

    In ``codes`` of the result, unlike the other searches, are the codes themselves, plus ``top``.
    """
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    alone, x = search.alone, search.x
    (extreme,) = materialized(search.first_extreme())
    (inverse,) = materialized(jnp.float32(-top) / extreme)
    (codes,) = materialized(nearest(inverse * x, -top, top - 1))
    weights, products = materialized(x * x, (x * x) * x)
    sx, s2 = products[0] * codes[0] + search.zero, (weights[0] * codes[0]) * codes[0] + search.zero
    for i in range(1, search.size):
        sx, s2 = sx + alone(products[i] * codes[i]), s2 + alone((weights[i] * codes[i]) * codes[i])

    def step(k: Any, state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        codes, sx, s2 = state
        i = k % search.size
        value, old = x[i], codes[i]
        weight = value * value
        product = weight * value
        less_x = sx - alone(product * old)
        less_2 = s2 - alone((weight * old) * old)
        (new,) = materialized(nearest(value * less_2 / less_x, -top, top - 1))
        new_x = less_x + alone(product * new)
        new_2 = less_2 + alone((weight * new) * new)
        better = (less_x > 0) & (new != old) & (new_2 > 0) & (new_x * new_x * s2 > sx * sx * new_2)
        keep = ~better
        codes = lax.dynamic_update_index_in_dim(codes, jnp.where(keep, old, new), i, 0)
        return codes, jnp.where(keep, sx, new_x), jnp.where(keep, s2, new_2)

    sx, s2 = materialized(sx, s2)
    codes, sx, s2 = lax.fori_loop(0, 5 * search.size, step, (codes, sx, s2))
    zero = jnp.abs(extreme) < jnp.float32(TINY)
    scale = jnp.where((s2 > 0) & ~zero, sx / s2, 0)
    return Fit(scale, None, None, None, jnp.where(zero, 0, codes + top))
