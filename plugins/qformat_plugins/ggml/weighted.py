"""The searches that ggml makes where the importance of each element is given.

They are those of `search` with weights of their own, more trials for a scale and minimum, and a search for
the scale of a superblock too; `uneven` heeds weights itself. Arrays are ``[elements of a sub-block,
sub-blocks]``, as there; so are the weights, which count an element's importance and its size
(`element_weights`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat_plugins.ggml.search import TINY, Fit, Search, Steps, nearest, smaller, summed
from qformat_plugins.ggml.search import scale_and_low as search_for_both

RAISED = (-0.9, 0.05, 37)  # first trial, width and number of trials of `scale_and_low`


def element_weights(
    values: NDArray[np.float32], importance: NDArray[np.float32], span: int | None, times: int = 1
) -> NDArray[np.float32]:
    """Weights: importance * sqrt(mean square of a span, ``times`` so much, + value**2), for rows of values.

    A span of None is the whole row. Sums run in order, in float32.
    """
    rows, cols = values.shape
    width = span or cols
    squares = values * values
    padded = np.pad(squares, ((0, 0), (0, -cols % width))) if cols % width else squares
    sums = np.add.accumulate(padded.reshape(rows, -1, width), axis=2)[:, :, -1:]
    means = np.float32(times) * sums / np.float32(width)
    spread = np.broadcast_to(means, (*means.shape[:2], width)).reshape(rows, -1)[:, :cols]
    return np.asarray(importance * np.sqrt(spread + squares), np.float32)


class Weighted(Search):
    """Sub-blocks ``x`` with the weights ``w`` of their elements."""

    def __init__(self, x: Any, w: Any, zero: Any) -> None:
        super().__init__(x, zero)
        self.w = w

    def sums(self, terms: Callable[[Any, Any], tuple[Any, ...]]) -> tuple[Any, ...]:
        """The sums of each of ``terms(x[i], w[i])`` over the elements, in order."""
        return summed(terms, self.x, self.w)

    def ratio_sums(self, code: Callable[[Any], Any]) -> tuple[Any, Any]:
        """The sums of w * x * code and w * code * code, as one pass."""
        from jax import lax

        from qformat.schemes.numerics import materialized

        def terms(x: Any, w: Any) -> tuple[Any, Any]:
            found = code(x)
            return self.alone((w * x) * found), self.alone((w * found) * found)

        (both,) = materialized(lax.complex(*self.sums(terms)))
        return lax.real(both), lax.imag(both)


def weighted(blocks: Any, weights: Any, size: int, zero: Any) -> Weighted:
    """Blocks and weights ``[n, elements]`` as sub-blocks of ``size``."""
    from qformat_plugins.ggml.search import transposed

    return Weighted(transposed(blocks, size), transposed(weights, size), zero)


def totals(search: Weighted) -> Any:
    """The sum of each sub-block's weights."""
    from qformat.schemes.numerics import materialized

    return materialized(search.sums(lambda _x, w: (w,))[0])[0]


# --- a signed scale: Q4_0, Q5_0, Q3_K, Q6_K -----------------------------------------------------------


def signed_scale(search: Weighted, top: int) -> Fit:
    """The scale of 19 trials that fits best; codes are -top … top - 1; all zero: ``inverse`` is NaN."""
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    (extreme,) = materialized(search.first_extreme())
    offsets = [0, *(i for i in range(-9, 10) if i)]
    numerators = jnp.asarray(-(np.float32(top) + np.float32(0.1) * np.asarray(offsets, np.float32)))

    def step(i: Any, best: tuple[Any, Any, Any]) -> tuple[Any, ...]:
        (inverse,) = materialized(numerators[i] / extreme)
        sx, s2 = search.ratio_sums(lambda x: nearest(inverse * x, -top, top - 1))
        scale = jnp.where(s2 != 0, sx / s2, 0)
        better = jnp.where(i == 0, True, (s2 > 0) & (sx * sx > best[1] * s2))
        new = (scale, scale * sx, inverse)
        return tuple(jnp.where(better, a, b) for a, b in zip(new, best, strict=True))

    nothing = jnp.zeros_like(extreme)
    scale, _, inverse = lax.fori_loop(0, len(offsets), step, (nothing, nothing, nothing))
    zero = jnp.abs(extreme) < jnp.float32(TINY)
    return Fit(jnp.where(zero, 0, scale), None, jnp.where(zero, jnp.nan, inverse), None)


def signed_codes(search: Weighted, fit: Fit, top: int) -> Any:
    """The codes of a `signed_scale` plus ``top``, as floats; 0 where there are none."""
    import jax.numpy as jnp

    codes = nearest(fit.inverse * search.x, -top, top - 1) + jnp.float32(top)
    return jnp.where(jnp.isnan(fit.inverse), 0, codes)


# --- scale and minimum: Q4_1, Q5_1, Q2_K, Q4_K, Q5_K --------------------------------------------------


def scale_and_low(search: Weighted, top: int) -> Fit:
    """The best of more trials than are made without importances."""
    return search_for_both(search, Steps(top, *RAISED), search.w, absolute=False)


def codes_of(search: Weighted, fit: Fit, top: int) -> Any:
    """The codes of a `scale_and_low`, as floats."""
    return nearest(fit.inverse * (search.x - fit.base), 0, top)


# --- scales of sub-blocks as codes of a superblock: Q2_K, Q4_K, Q5_K, Q3_K ------------------------------


def coded_scales(scales: Any, weights: Any, top: int, zero: Any) -> tuple[Any, Any]:
    """Scales ``[n, groups]``, not negative, as one float ``[n, 1]`` times integers 0 … ``top``.

    The best of nine steps; then codes move one at a time while the weighted fit improves.
    """
    import jax.numpy as jnp

    from qformat.schemes.numerics import materialized

    x, w = materialized(scales.T, weights.T)
    search = Weighted(x, w, zero)
    (most,) = materialized(jnp.maximum(search.extremes()[1], 0))
    (inverse,) = materialized(_best_step(search, most, top))
    (codes,) = materialized(smaller(_integer(search.alone(inverse * search.x)), jnp.float32(top)))
    scale, codes = _moved(search, codes, top)
    nothing = most < jnp.float32(TINY)
    scale, codes = jnp.where(nothing, 0, scale), jnp.where(nothing, 0, codes)
    return scale[:, None], codes.T.astype(jnp.int32)


def superblock(
    blocks: Any, weights: Any, size: int, top: int, steps: int, zero: Any
) -> tuple[Fit, tuple[Any, Any], tuple[Any, Any]]:
    """The fits of sub-blocks of ``size``, and their scales and minima as coded up to ``steps``."""
    import jax.numpy as jnp

    search = weighted(blocks, weights, size, zero)
    fit = scale_and_low(search, top)
    shape = (blocks.shape[0], -1)
    sums = totals(search).reshape(shape)
    d, scales = coded_scales(fit.scale.reshape(shape), sums, steps, zero)
    dmin, mins = coded_scales(-fit.low.reshape(shape), sums, steps, zero)
    return fit, (d.astype(jnp.float16), scales), (dmin.astype(jnp.float16), mins)


def signed_superblock(
    blocks: Any, weights: Any, size: int, top: int, steps: int, zero: Any
) -> tuple[Any, Any, Any]:
    """The scale ``[n, 1]``, the coded scales ``[n, groups]`` plus ``steps``, and the elements' own codes."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import materialized

    search = weighted(blocks, weights, size, zero)
    fit = signed_scale(search, top)
    shape = (blocks.shape[0], -1)
    scales, sums = materialized(fit.scale.reshape(shape).T, totals(search).reshape(shape).T)
    outer = Weighted(scales, sums, zero)
    found = signed_scale(outer, steps)
    stored = signed_codes(outer, found, steps).T.astype(jnp.int32)
    own = signed_codes(search, fit, top).T.reshape(blocks.shape)
    return found.scale[:, None], stored, own


def _best_step(search: Weighted, most: Any, top: int) -> Any:
    """The inverse scale whose codes have the smallest weighted error."""
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    offsets = [0, *(i for i in range(-4, 5) if i)]
    numerators = jnp.asarray(np.float32(0.1) * np.asarray(offsets, np.float32) + np.float32(top))

    def step(i: Any, best: tuple[Any, Any]) -> tuple[Any, Any]:
        (inverse,) = materialized(numerators[i] / most)
        (scale,) = materialized(1 / inverse)

        def term(x: Any, w: Any) -> tuple[Any]:
            code = smaller(_integer(search.alone(inverse * x)), jnp.float32(top))
            off = x - search.alone(scale * code)
            return (search.alone((w * off) * off),)

        (found,) = materialized(*search.sums(term))
        better = (i == 0) | (found < best[0])
        return jnp.where(better, found, best[0]), jnp.where(better, inverse, best[1])

    nothing = jnp.zeros_like(most)
    return lax.fori_loop(0, len(offsets), step, (nothing, nothing))[1]


def _moved(search: Weighted, codes: Any, top: int) -> tuple[Any, Any]:
    """Scale and codes after five rounds over the elements, each moved where that improves the fit."""
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    alone, x, w = search.alone, search.x, search.w
    sx, s2 = jnp.zeros_like(x[0]), jnp.zeros_like(x[0])
    for i in range(search.size):
        sx, s2 = sx + alone((w[i] * x[i]) * codes[i]), s2 + alone((w[i] * codes[i]) * codes[i])

    def step(k: Any, state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        codes, sx, s2 = state
        i = k % search.size
        value, weight, old = x[i], w[i], codes[i]
        less_x = sx - alone((weight * value) * old)
        less_2 = s2 - alone((weight * old) * old)
        (new,) = materialized(smaller(_integer(value * less_2 / less_x), jnp.float32(top)))
        new_x = less_x + alone((weight * value) * new)
        new_2 = less_2 + alone((weight * new) * new)
        better = (less_x > 0) & (less_2 > 0) & (new != old) & (new_x * new_x * s2 > sx * sx * new_2)
        codes = lax.dynamic_update_index_in_dim(codes, jnp.where(better, new, old), i, 0)
        return codes, jnp.where(better, new_x, sx), jnp.where(better, new_2, s2)

    codes, sx, s2 = lax.fori_loop(0, 5 * search.size, step, materialized(codes, sx, s2))
    return jnp.where(s2 > 0, sx / s2, 0), codes


def _integer(values: Any) -> Any:
    """Rounded half to even as ggml does it, by an addition: what is past 2**22 comes out as it does there."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import INTEGERS, float_bits

    words = float_bits(values + jnp.float32(INTEGERS)) & 0x7FFFFF
    return (words - 0x400000).astype(jnp.float32)
