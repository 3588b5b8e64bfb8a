"""Steps that encoders share, in the form that XLA's CPU backend makes fast loops of.

Each gives exactly the floats of the plain way to write it, on finite values.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

_MAGNITUDE = 0x7FFFFFFF
# 1.5 * 2**23: a float32 added to it keeps no fraction, and its low bits are the rounded integer.
_INTEGERS = 12582912.0


def float_bits(values: Any) -> Any:
    """The bits of float32 values as int32."""
    return lax.bitcast_convert_type(values, jnp.int32)


def bits_float(words: Any) -> Any:
    """Float32 values of int32 bits."""
    return lax.bitcast_convert_type(words, jnp.float32)


def largest_magnitude(values: Any) -> Any:
    """``max(abs(values))`` along the last axis, which stays.

    Magnitudes are in the order of their bits, and a maximum of integers vectorizes; one of
    floats, which must heed NaN, does not. A NaN is the largest.
    """
    return bits_float(jnp.max(float_bits(values) & _MAGNITUDE, axis=-1, keepdims=True))


def smallest_and_largest(values: Any) -> tuple[Any, Any]:
    """``min(values)`` and ``max(values)`` along the last axis, which stays; by integers, as above."""

    def ordered(words: Any) -> Any:
        return words ^ ((words >> 31) & _MAGNITUDE)

    keys = ordered(float_bits(values))
    low = jnp.min(keys, axis=-1, keepdims=True)
    high = jnp.max(keys, axis=-1, keepdims=True)
    return bits_float(ordered(low)), bits_float(ordered(high))


def rounded(values: Any, low: Any, high: Any) -> Any:
    """``clip(round(values), low, high)``, ties to even, as int32; limits are integers below 2**22.

    The limits come first: they make the addition exact, and keep the compiler from joining it
    with the product that ``values`` often is into one rounding.
    """
    near = jnp.clip(values, low, high)
    return float_bits(near + jnp.float32(_INTEGERS)) - float_bits(jnp.float32(_INTEGERS))


def materialized(*arrays: Any) -> tuple[Any, ...]:
    """The same arrays, computed once and written to memory.

    XLA fuses a cheap producer into each of its consumers, which then computes it anew for every
    element. A branch that the compiler cannot foresee is what it does not fuse across.
    """
    first = arrays[0].reshape(-1)[0]
    word = float_bits(first) if first.dtype == jnp.float32 else first.astype(jnp.int32)
    taken = (word | 1) != 0  # always; a branch that doubles is there for the compiler only
    kept: tuple[Any, ...] = lax.cond(taken, lambda a: a, lambda a: tuple(x + x for x in a), arrays)
    return kept
