"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: one scale for 32 elements, and a minimum in the _1 types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from qformat.schemes import Affine, Codes, Equivalent, Field, Floats, ScaleMin
from qformat_plugins.ggml.base import Ggml, WeightedRows, bytewise, f16, floats, gathered, nibbles, scaled

# The fields of a code's bits, lowest first.
CODES = {4: (("qs.low", "qs.high"),), 5: (("qs.low", "qs.high"), ("qh",))}


class Q8_0(Ggml):  # noqa: N801  the names are ggml's
    """Scale and 32 signed bytes.

    ::

        byte  0      2                                          33
              ┌──────┬────┬────┬────┬─────────────────────┬────┐
              │ d    │ q0 │ q1 │ q2 │ …                   │q31 │   value = d * q
              └──────┴────┴────┴────┴─────────────────────┴────┘
    """

    id, block, size = "q8_0", 32, 34
    summary = "8-bit symmetric, block 32 (ggml)"
    fields = (f16("d", 0), Field("qs", 16, 8, 32, "int"))
    bad_values_show = True  # in the scale, as in all of these types

    def equivalent(self) -> Equivalent:
        return Equivalent(Affine(Codes(8, signed=True), Floats("F16")), (("qs",),))

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides
        import jax.numpy as jnp

        from qformat.schemes.numerics import (
            divided,
            hidden_zero,
            largest_magnitude,
            materialized,
            rounded_away,
        )

        (largest,) = materialized(largest_magnitude(blocks))
        scale = divided(largest, 127, hidden_zero(blocks))
        scale, inverse = materialized(scale, _inverse(scale))
        return {"d": scale, "qs": rounded_away(blocks * inverse, -128, 127).astype(jnp.int8)}

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        return scaled(planes["qs"], floats(planes["d"]))


class Symmetric(WeightedRows):
    """The element largest in magnitude becomes the lowest code, exactly."""

    block: ClassVar[int] = 32
    bits: ClassVar[int]
    bad_values_show: ClassVar[bool] = True

    def equivalent(self) -> Equivalent:
        codes = Codes(self.bits, signed=True)
        return Equivalent(Affine(codes, Floats("F16")), CODES[self.bits], flip=2 ** (self.bits - 1))

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        import jax.numpy as jnp

        from qformat.schemes.numerics import first_extreme, hidden_zero, materialized

        top = 2 ** (self.bits - 1)
        if weights is not None:
            return self._searched(blocks, weights, top)
        scale = first_extreme(blocks) * jnp.float32(-1 / top)
        scale, inverse = materialized(scale, _inverse(scale))
        steps = (blocks * inverse + hidden_zero(blocks)) + jnp.float32(top + 0.5)
        codes = jnp.minimum(steps.astype(jnp.int32), 2 * top - 1)
        return {"d": scale} | _codes(codes, self.bits)

    def _searched(self, blocks: Any, weights: Any, top: int) -> Mapping[str, Any]:
        from qformat.schemes.numerics import hidden_zero
        from qformat_plugins.ggml.weighted import signed_codes, signed_scale, weighted

        search = weighted(blocks, weights, 32, hidden_zero(blocks))
        fit = signed_scale(search, top)
        codes = signed_codes(search, fit, top).T.astype("int32")
        return {"d": fit.scale[:, None]} | _codes(codes, self.bits)

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        return scaled(_opened(planes, self.bits) - 2 ** (self.bits - 1), floats(planes["d"]))


class Q4_0(Symmetric):  # noqa: N801
    """Scale and 32 nibbles.

    ::

        byte  0      2                                  17
              ┌──────┬─────────┬─────────┬───┬─────────┐  bits of a byte:  7..4   3..0
              │ d    │ q16  q0 │ q17  q1 │ … │ q31 q15 │                   q16+i  qi
              └──────┴─────────┴─────────┴───┴─────────┘  value = d * (q - 8)
    """

    id, size, bits = "q4_0", 18, 4
    summary = "4-bit symmetric, block 32 (ggml)"
    fields = (f16("d", 0), bytewise("qs.low", 2, 16, bits=4), bytewise("qs.high", 2, 16, at=4, bits=4))


class Q5_0(Symmetric):  # noqa: N801
    """Scale, the fifth bits, and 32 nibbles as in Q4_0.

    ::

        byte  0      2              6                                  21
              ┌──────┬──────────────┬─────────┬─────────┬───┬─────────┐
              │ d    │ bit i: q_i's │ q16  q0 │ q17  q1 │ … │ q31 q15 │  value = d * (q - 16)
              └──────┴──────────────┴─────────┴─────────┴───┴─────────┘  q = nibble + 16 * bit
    """

    id, size, bits = "q5_0", 22, 5
    summary = "5-bit symmetric, block 32 (ggml)"
    fields = (
        f16("d", 0),
        Field("qh", 16, 1, 32),
        bytewise("qs.low", 6, 16, bits=4),
        bytewise("qs.high", 6, 16, at=4, bits=4),
    )


class ScaleAndMin(WeightedRows):
    """The codes span the block's own range."""

    block: ClassVar[int] = 32
    bits: ClassVar[int]
    bad_values_show: ClassVar[bool] = True

    def equivalent(self) -> Equivalent:
        return Equivalent(ScaleMin(Codes(self.bits), Floats("F16"), Floats("F16")), CODES[self.bits])

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        if weights is not None:
            return self._searched(blocks, weights)
        import jax.numpy as jnp

        from qformat.schemes.numerics import divided, hidden_zero, materialized, smallest_and_largest

        zero, top = hidden_zero(blocks), 2**self.bits - 1
        low, high = smallest_and_largest(blocks)
        scale = divided(high - low, top, zero)
        low, scale, inverse = materialized(low, scale, _inverse(scale))
        steps = ((blocks - low) * inverse + zero) + jnp.float32(0.5)
        codes = jnp.minimum(steps.astype(jnp.int32), top)
        return {"d": scale, "m": low} | _codes(codes, self.bits)

    def _searched(self, blocks: Any, weights: Any) -> Mapping[str, Any]:
        from qformat.schemes.numerics import hidden_zero
        from qformat_plugins.ggml.weighted import codes_of, scale_and_low, weighted

        search, top = weighted(blocks, weights, 32, hidden_zero(blocks)), 2**self.bits - 1
        fit = scale_and_low(search, top)
        codes = codes_of(search, fit, top).T.astype("int32")
        return {"d": fit.scale[:, None], "m": fit.low[:, None]} | _codes(codes, self.bits)

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        return product(scaled(_opened(planes, self.bits), floats(planes["d"]))) + floats(planes["m"])


class Q4_1(ScaleAndMin):  # noqa: N801
    """Scale, minimum and 32 nibbles.

    ::

        byte  0      2      4                                  19
              ┌──────┬──────┬─────────┬─────────┬───┬─────────┐
              │ d    │ m    │ q16  q0 │ q17  q1 │ … │ q31 q15 │  value = d * q + m
              └──────┴──────┴─────────┴─────────┴───┴─────────┘
    """

    id, size, bits = "q4_1", 20, 4
    summary = "4-bit scale and minimum, block 32 (ggml)"
    fields = (
        f16("d", 0),
        f16("m", 2),
        bytewise("qs.low", 4, 16, bits=4),
        bytewise("qs.high", 4, 16, at=4, bits=4),
    )


class Q5_1(ScaleAndMin):  # noqa: N801
    """Scale, minimum, the fifth bits, and 32 nibbles as in Q4_1.

    ::

        byte  0      2      4              8                                  23
              ┌──────┬──────┬──────────────┬─────────┬─────────┬───┬─────────┐
              │ d    │ m    │ bit i: q_i's │ q16  q0 │ q17  q1 │ … │ q31 q15 │  value = d * q + m
              └──────┴──────┴──────────────┴─────────┴─────────┴───┴─────────┘
    """

    id, size, bits = "q5_1", 24, 5
    summary = "5-bit scale and minimum, block 32 (ggml)"
    fields = (
        f16("d", 0),
        f16("m", 2),
        Field("qh", 32, 1, 32),
        bytewise("qs.low", 8, 16, bits=4),
        bytewise("qs.high", 8, 16, at=4, bits=4),
    )


def _inverse(scale: Any) -> Any:
    import jax.numpy as jnp

    return jnp.where(scale != 0, 1 / scale, 0)


def _codes(codes: Any, bits: int) -> dict[str, Any]:
    """Codes of 4 or 5 bits as nibbles, and the fifth bits as a section of their own."""
    import jax.numpy as jnp
    from jax import lax

    if bits == 4:
        return {"qs": gathered(codes, 4, 16)}
    places = lax.broadcasted_iota(jnp.int32, codes.shape, 1)
    high = jnp.sum((codes >> 4) << places, axis=1, keepdims=True)
    return {"qh": lax.bitcast_convert_type(high, jnp.uint8).reshape(-1, 4), "qs": gathered(codes & 15, 4, 16)}


def _opened(planes: Mapping[str, Any], bits: int) -> Any:
    """Codes as int32 ``[n, 32]``."""
    import jax.numpy as jnp
    from jax import lax

    codes = nibbles(planes["qs"].astype(jnp.int32))
    if bits == 4:
        return codes
    high = lax.bitcast_convert_type(planes["qh"].reshape(-1, 4), jnp.int32)[:, None]
    places = lax.broadcasted_iota(jnp.int32, codes.shape, 1)
    return codes | ((high >> places) & 1) << 4
