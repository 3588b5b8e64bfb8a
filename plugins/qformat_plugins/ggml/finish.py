"""From found scales to what is stored: scales as codes of a superblock, and the elements' codes for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qformat_plugins.ggml.search import Fit, nearest


def coded(scales: Any, top: int, zero: Any) -> tuple[Any, Any]:
    """Scales ``[n, groups]`` as a two-byte float ``[n, 1]`` and integers whose largest is ``top``."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import divided, materialized, rounded

    largest = jnp.maximum(jnp.max(scales, axis=1, keepdims=True), 0)
    (inverse,) = materialized(jnp.where(largest > 0, jnp.float32(top) / largest, 0))
    steps = rounded(inverse * scales, -(2**21), 2**21)
    return divided(largest, top, zero).astype(jnp.float16), steps


def codes_above(blocks: Any, fit: Fit, scales: Any, mins: Any, top: int, zero: Any) -> Any:
    """Codes 0 … top ``[n, elements]`` for coded scales and minima ``[n, groups]``."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import materialized

    n, groups = scales.shape
    inverse, base = (a.reshape(n, groups) for a in (fit.inverse, fit.base))
    by, add = materialized(jnp.where(scales == 0, 1, scales), mins)
    left = scales == 0  # the scale was rounded to zero: the search's own codes remain
    inverse, base, left = materialized(inverse, base, left.astype(jnp.float32))
    x = blocks.reshape(n, groups, -1)
    found = inverse[:, :, None] * (x - base[:, :, None]) + zero
    above = (x + add[:, :, None]) / _true(by[:, :, None], x, zero)
    steps = nearest(jnp.where(left[:, :, None] != 0, found, above), 0, top)
    return steps.astype(jnp.int32).reshape(n, -1)


def codes_around(blocks: Any, own: Callable[[], Any], scales: Any, top: int) -> Any:
    """Codes 0 … 2 * top - 1 that stand for -top … top - 1, for coded scales ``[n, groups]``, as bytes.

    Where a scale was rounded to zero, the search's ``own`` codes ``[n, elements]`` remain. Few blocks have
    such a scale, so they are asked for only where there is one. A divisor for each element is written
    down: one for many would become a product with the reciprocal, and in a sum with a hidden zero is slower.
    """
    import jax.numpy as jnp
    from jax import lax

    from qformat.schemes.numerics import materialized

    size = blocks.shape[1] // scales.shape[1]
    (by,) = materialized(jnp.repeat(jnp.where(scales == 0, 1, scales), size, axis=1))
    codes = as_bytes(_lowest_byte(nearest(blocks / by, -top, top - 1), top))

    def mixed() -> Any:
        left = jnp.repeat(scales == 0, size, axis=1)
        return jnp.where(left, own().astype(jnp.uint8), codes)

    return lax.cond(jnp.any(scales == 0), mixed, lambda: codes)


def _lowest_byte(codes: Any, top: int) -> Any:
    """Whole floats plus ``top`` as int32 of which the lowest byte counts: quicker than a conversion."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import INTEGERS, float_bits

    return float_bits(codes + jnp.float32(INTEGERS + top))


def as_bytes(codes: Any) -> Any:
    """Codes computed once, as bytes, for the sections that hold parts of them."""
    from qformat.schemes.numerics import materialized

    return materialized(codes.astype("uint8"))[0]


def largest_signed(scales: Any) -> Any:
    """The scale of the largest magnitude, the first of equals: ``[n, 1]``."""
    import jax.numpy as jnp

    found = scales[:, :1]
    for i in range(1, scales.shape[1]):
        found = jnp.where(jnp.abs(scales[:, i : i + 1]) > jnp.abs(found), scales[:, i : i + 1], found)
    return found


def _true(by: Any, x: Any, zero: Any) -> Any:
    """A divisor that the compiler does not see as one number for many: it would take the reciprocal."""
    return by + zero * x
