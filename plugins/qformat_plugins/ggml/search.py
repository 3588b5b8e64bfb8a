"""The searches by which ggml chooses scales of sub-blocks, for many sub-blocks side by side.

Arrays are ``[groups, elements of a sub-block, sub-blocks of a group]``: a step of the search is a sum
over the elements, written out in order because the last bit depends on it, and vectorized over the
sub-blocks beside each other. Groups are small, so that what one step reads lies close together.
Without the first axis the searches work as well. A product that something is added to passes through
`Search.alone`: the reference rounds it on its own.
"""

from __future__ import annotations

import math
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


class Search:
    """Sub-blocks ``x`` and the arithmetic on them."""

    def __init__(self, x: Any, zero: Any) -> None:
        self.x = x
        self.zero = zero
        self.size = x.shape[-2]

    def row(self, i: int) -> Any:
        """Element ``i`` of every sub-block."""
        return self.x[..., i, :]

    def alone(self, product: Any) -> Any:
        return product + self.zero

    def total(self, term: Callable[[Any], Any]) -> Any:
        """The sum of ``term(x)`` over the elements, in order."""
        return summed(lambda x: (term(x),), self.x)[0]

    def extremes(self) -> tuple[Any, Any]:
        low = high = self.row(0)
        for i in range(1, self.size):
            low, high = smaller(self.row(i), low), larger(self.row(i), high)
        return low, high

    def first_extreme(self) -> Any:
        """The element of the largest magnitude, the first of equals."""
        import jax.numpy as jnp

        found = self.row(0)
        for i in range(1, self.size):
            found = jnp.where(jnp.abs(self.row(i)) > jnp.abs(found), self.row(i), found)
        return found


def summed(terms: Callable[..., tuple[Any, ...]], *arrays: Any) -> tuple[Any, ...]:
    """The sums over the elements of each of ``terms``, which get one element of every array, in order."""
    found = terms(*(a[..., 0, :] for a in arrays))
    for i in range(1, arrays[0].shape[-2]):
        more = terms(*(a[..., i, :] for a in arrays))
        found = tuple(a + b for a, b in zip(found, more, strict=True))
    return found


def every(of_each: Any) -> Any:
    """One number for each sub-block, in the shape of all its elements."""
    return of_each[..., None, :]


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


def grouped(blocks: Any, size: int) -> Any:
    """Blocks ``[n, elements]`` as groups of sub-blocks ``[groups, size, up to 256]``."""
    from qformat.schemes.numerics import materialized

    beside = math.gcd(blocks.size // size, 256)
    return materialized(blocks.reshape(-1, beside, size).transpose(0, 2, 1))[0]


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


def scale_and_low(search: Search, steps: Steps, weights: Any, *, absolute: bool) -> Fit:
    """Least squares of scale and minimum for each trial rounding; the best by weighted error stays.

    The minimum of the best fit so far is what the next trial rounds from. Fit and error of a trial both
    compute its codes: that is faster than to write and read them.
    """
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    alone, x = search.alone, search.x
    low, high = search.extremes()
    low, high = materialized(smaller(jnp.float32(0), low), high)  # a minus zero stays
    (w,) = materialized(weights)
    (sum_w,) = materialized(*summed(lambda w: (w,), w))
    (sum_wx,) = materialized(*summed(lambda w, x: (alone(w * x),), w, x))
    (inverse,) = materialized(jnp.float32(steps.top) / (high - low))
    (scale,) = materialized(1 / inverse)

    def error(inverse: Any, base: Any, scale: Any, low: Any) -> Any:
        def term(w: Any, x: Any) -> tuple[Any]:
            code = nearest(inverse * (x - base), 0, steps.top)
            off = (alone(scale * code) + low) - x
            return (alone(w * (jnp.abs(off) if absolute else off * off)),)

        return materialized(*summed(term, w, x))[0]

    def fit(inverse: Any, base: Any) -> tuple[Any, Any]:
        def terms(w: Any, x: Any) -> tuple[Any, Any, Any]:
            code = nearest(inverse * (x - base), 0, steps.top)
            once = alone(w * code)
            return once, alone(once * code), alone(once * x)

        return least_squares(search, sum_w, sum_wx, *summed(terms, w, x))

    numerators = jnp.asarray(steps.numerators())

    def step(i: Any, best: tuple[Any, ...]) -> tuple[Any, ...]:
        least, base = best[0], best[2]
        (trial,) = materialized(numerators[i] / (high - base))
        new_scale, new_low = fit(trial, base)
        # Not the same to the compiler, which would write the codes down and read them again.
        inverse, low = materialized(trial, base)
        found = error(inverse, low, new_scale, new_low)
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
    """The scale of 19 trials that fits best, weighted by x * x; codes are -top … top - 1.

    All trials are written out: the compiler then makes one loop of them, which reads a sub-block once.
    """
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    (extreme,) = materialized(search.first_extreme())
    offsets = np.asarray([0, *(i for i in range(-9, 10) if i)], np.float32)
    numerators = -(np.float32(top) + np.float32(0.1) * offsets)

    def trial(numerator: Any) -> tuple[Any, ...]:
        inverse = jnp.float32(numerator) / extreme

        def terms(x: Any) -> tuple[Any, Any]:
            code = nearest(inverse * x, -top, top - 1)
            weight = x * x
            return search.alone((weight * x) * code), search.alone((weight * code) * code)

        sx, s2 = summed(terms, search.x)
        scale = jnp.where(s2 != 0, sx / s2, 0)
        return scale, scale * sx, inverse, sx, s2

    best = trial(numerators[0])[:3]
    for numerator in numerators[1:]:
        *new, sx, s2 = trial(numerator)
        better = (s2 > 0) & (sx * sx > best[1] * s2)
        best = tuple(jnp.where(better, a, b) for a, b in zip(new, best, strict=True))
    (both,) = materialized(lax.complex(best[0], best[2]))  # as one number, so that it is one loop
    zero = jnp.abs(extreme) < jnp.float32(TINY)
    return Fit(jnp.where(zero, 0, lax.real(both)), None, jnp.where(zero, jnp.nan, lax.imag(both)), None)
