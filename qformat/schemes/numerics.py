"""Steps that encoders share, in the form that XLA's CPU backend makes fast loops of.

Each gives exactly the floats of the plain way to write it, on finite values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from numpy.typing import NDArray

_MAGNITUDE = 0x7FFFFFFF
_CHOSEN = 16
# 1.5 * 2**23: a float32 added to it keeps no fraction, and its low bits are the rounded integer.
INTEGERS = 12582912.0


def float_bits(values: Any) -> Any:
    """The bits of float32 values as int32."""
    return lax.bitcast_convert_type(values, jnp.int32)


def bits_float(words: Any) -> Any:
    """Float32 values of int32 bits."""
    return lax.bitcast_convert_type(words, jnp.float32)


def first_extreme(values: Any) -> Any:
    """The element of the largest magnitude along the last axis, which stays; the first of +m and -m.

    Such ties are common among weights that were bfloat16 once. A NaN is larger than all else.
    """
    words = float_bits(values)
    places = lax.broadcasted_iota(jnp.int32, words.shape, words.ndim - 1)

    def larger(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
        a_size, b_size = a[0] & _MAGNITUDE, b[0] & _MAGNITUDE
        stays = (a_size > b_size) | ((a_size == b_size) & (a[1] <= b[1]))
        return jnp.where(stays, a[0], b[0]), jnp.where(stays, a[1], b[1])

    lanes = 8 if values.shape[-1] <= 128 else 16
    return bits_float(_folded((words, places), (0, -1), larger, lanes)[0])


def largest_magnitude(values: Any) -> Any:
    """``max(abs(values))`` along the last axis, which stays. A NaN is the largest."""
    low, high = smallest_and_largest(values)
    return jnp.maximum(jnp.abs(low), jnp.abs(high))


def smallest_and_largest(values: Any) -> tuple[Any, Any]:
    """``min(values)`` and ``max(values)`` along the last axis, which stays.

    They are found among integers in the order of the values: a NaN is the smallest or largest by
    its sign, where a maximum of floats would pass it over. Both at once become one loop.
    """

    def ordered(words: Any) -> Any:
        return words ^ ((words >> 31) & _MAGNITUDE)

    def wider(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
        return jnp.where(a[0] <= b[0], a[0], b[0]), jnp.where(a[1] >= b[1], a[1], b[1])

    keys = ordered(float_bits(values))
    lanes = 8 if values.shape[-1] <= 32 else 1
    low, high = _folded((keys, keys), (2**31 - 1, -(2**31)), wider, lanes)
    return bits_float(ordered(low)), bits_float(ordered(high))


def _folded(
    words: tuple[Any, Any], ends: tuple[int, int], join: Callable[[Any, Any], tuple[Any, Any]], lanes: int
) -> tuple[Any, Any]:
    """Pairs of int32 along the last axis, which stays, joined to one in any order.

    So many ``lanes`` lie beside each other at first: XLA's CPU backend makes a vector loop of that. Over the
    last axis it does so only where rows are long and numbers are joined by what it has an instruction for.
    """
    *rows, size = words[0].shape
    limits = tuple(jnp.int32(end) for end in ends)
    if lanes > 1 and size % lanes == 0:
        beside = tuple(a.reshape(*rows, size // lanes, lanes) for a in words)
        words = lax.reduce(beside, limits, join, (len(rows),))
    first, second = lax.reduce(words, limits, join, (len(rows),))
    return first[..., None], second[..., None]


def looked_up(table: NDArray[Any], codes: Any) -> Any:
    """Entries of a table for codes of any integer type.

    Of up to 16 entries halves are chosen from bit by bit, which becomes a vector loop; entries of a longer
    table are fetched one at a time.
    """
    if len(table) > _CHOSEN:
        return jnp.asarray(table)[codes.astype(jnp.int32)]
    found = [jnp.asarray(entry) for entry in table]
    for bit in range((len(table) - 1).bit_length()):
        upper = (codes >> bit) & 1 != 0
        found.extend(found[-1:] * (len(found) % 2))
        found = [jnp.where(upper, b, a) for a, b in zip(found[::2], found[1::2], strict=True)]
    return jnp.broadcast_to(found[0], codes.shape)


def rounded(values: Any, low: Any, high: Any) -> Any:
    """``clip(round(values), low, high)``, ties to even, as int32; limits are integers below 2**22.

    The limits come first: they make the addition exact, and keep the compiler from joining it
    with the product that ``values`` often is into one rounding.
    """
    near = jnp.clip(values, low, high)
    return float_bits(near + jnp.float32(INTEGERS)) - float_bits(jnp.float32(INTEGERS))


def materialized(*arrays: Any) -> tuple[Any, ...]:
    """The same arrays, computed once and written to memory.

    XLA fuses a cheap producer into each of its consumers, which then computes it anew for every
    element. A branch that the compiler cannot foresee is what it does not fuse across.
    """
    first = jnp.real(arrays[0].reshape(-1)[0])
    word = lax.bitcast_convert_type(first, f"int{first.dtype.itemsize * 8}")
    taken = (word | 1) != 0  # always; a branch that doubles is there for the compiler only
    kept: tuple[Any, ...] = lax.cond(taken, lambda a: a, lambda a: tuple(x + x for x in a), arrays)
    return kept


def hidden_zero(values: Any) -> Any:
    """A float32 zero of which the compiler does not know that it is one, made from finite values.

    ``(a * b + zero) + c`` rounds twice, where ``a * b + c`` may be joined into one rounding.
    """
    finite = (float_bits(values.reshape(-1)[0]) & _MAGNITUDE) < 0x7F800000
    return jnp.where(finite, jnp.float32(0), jnp.float32(jnp.nan))


def divided(values: Any, by: Any, zero: Any) -> Any:
    """``values / by`` by a true division, ``by`` being a constant or one number for many.

    The compiler would multiply with the reciprocal of what it knows or sees broadcast, and turn
    1 / (a / b) into b / a; maxima that change nothing keep it from both.
    """
    positive = jnp.maximum(by + zero, -jnp.abs(values))
    return jnp.maximum(values / positive, zero - jnp.float32(3e38))


def rounded_away(values: Any, low: float, high: float) -> Any:
    """``clip(round(values), low, high)``, ties away from zero as C's roundf has them, as int32."""
    near = jnp.clip(values, low, high)
    half = (float_bits(near) & jnp.int32(-(2**31))) | float_bits(jnp.float32(0.49999997))
    return (near + bits_float(half)).astype(jnp.int32)


def as_stored(values: Any, dtype: str) -> Any:
    """Float32 values rounded as a plane of ``f16``, ``bf16`` or ``f32`` will hold them, as float32 again.

    Codes should be chosen for the scale that a reader will see, not for the one before rounding.
    """
    types = {"f16": jnp.float16, "bf16": jnp.bfloat16, "f32": jnp.float32}
    return values.astype(types[dtype]).astype(jnp.float32)


def fitted_line(codes: Any, values: Any, weights: Any) -> tuple[Any, Any]:
    """Slope and offset of the weighted least-squares line ``values = slope * codes + offset``.

    Along the last axis, which stays. The slope is 0 where all codes are equal.
    """
    total = jnp.sum(weights, axis=-1, keepdims=True)
    unit = jnp.where(total > 0, 1 / total, 0)
    middle = jnp.sum(weights * codes, axis=-1, keepdims=True) * unit
    mean = jnp.sum(weights * values, axis=-1, keepdims=True) * unit
    away = codes - middle
    spread = jnp.sum(weights * away * away, axis=-1, keepdims=True)
    common = jnp.sum(weights * away * (values - mean), axis=-1, keepdims=True)
    slope = jnp.where(spread > 0, common / spread, 0)
    return slope, mean - slope * middle


def regrowth(values: Any, decoded: Any, weights: Any) -> Any:
    """The factor that takes the shrinkage of a least-squares fit back, along the last axis, which stays.

    Such a fit leaves an error at right angles to what it decodes to, so its numbers are too small by
    ``sum(v * v) / sum(v * decoded)``. Errors cancel out over the many weights of a sum; a factor that
    all of them have does not. It is 1 where there is nothing to go by.
    """
    whole = jnp.sum(weights * values * values, axis=-1, keepdims=True)
    kept = jnp.sum(weights * values * decoded, axis=-1, keepdims=True)
    return jnp.where(kept > 0, jnp.clip(whole / kept, 1, 2), 1)
