"""IQ4_NL, IQ4_XS, MXFP4 and NVFP4: four-bit codes that select from a table of uneven steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from qformat.schemes import Codebook, Codes, Equivalent, Field, Floats
from qformat_plugins.ggml.base import (
    DecodeOnly,
    Ggml,
    WeightedBlocks,
    bytewise,
    f16,
    floats,
    gathered,
    nibbles,
    scaled,
)

# Steps that grow with the magnitude; of the sixteen, one is close to zero and none is zero.
NONLINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
# The E2M1 numbers 0, 0.5, 1, 1.5, 2, 3, 4, 6, doubled; scales are halved for it.
E2M1_DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
_NIBBLES = (("qs.low", "qs.high"),)


class IQ4_NL(WeightedBlocks):  # noqa: N801  the names are ggml's
    """Laid out as Q4_0; a nibble is an index into the table.

    ::

        byte  0      2                                  17
              ┌──────┬─────────┬─────────┬───┬─────────┐
              │ d    │ q16  q0 │ q17  q1 │ … │ q31 q15 │  value = d * table[q]
              └──────┴─────────┴─────────┴───┴─────────┘
    """

    id, block, size = "iq4_nl", 32, 18
    heed = 2
    summary = "4-bit with uneven steps, block 32 (ggml)"
    fields = (f16("d", 0), bytewise("qs.low", 2, 16, bits=4), bytewise("qs.high", 2, 16, at=4, bits=4))

    def equivalent(self) -> Equivalent:
        table = tuple(float(step) for step in NONLINEAR)
        return Equivalent(Codebook(Codes(4), Floats("F16"), table), _NIBBLES)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized
        from qformat_plugins.ggml.uneven import nearest_index

        scale = _uneven_scales(blocks, weights).reshape(-1, 1)
        scale, inverse = materialized(scale, jnp.where(scale != 0, 1 / scale, 0))
        codes = nearest_index(blocks * inverse, NONLINEAR)
        return {"d": scale, "qs": gathered(codes, 4, 16)}

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        return scaled(entries(planes["qs"], NONLINEAR), floats(planes["d"]))


class IQ4_XS(WeightedBlocks):  # noqa: N801
    """8 sub-blocks of 32 with 6-bit scales.

    ::

        byte  0      2          4             8                             135
              ┌──────┬──────────┬─────────────┬──────────────────────────────┐
              │ d    │ scales_h │ scales_l[4] │ qs[128]                      │
              └──────┴──────────┴─────────────┴──────────────────────────────┘
        scales_h       bits 2j+1..2j: high bits of scale j
        scales_l[i]    7..4: low bits of scale 2i+1   3..0: low bits of scale 2i
        qs[16j + k]    7..4: q[32j+16+k]              3..0: q[32j+k]

        value = (d * (scale - 32)) * table[q]
    """

    id, block, size = "iq4_xs", 256, 136
    heed = 2
    summary = "4-bit superblocks with uneven steps, 4.25 bpw (ggml)"
    fields = (
        f16("d", 0),
        Field("scales_h", 16, 2, 8),
        Field("scales_l", 32, 4, 8),
        bytewise("qs.low", 8, 128, bits=4),
        bytewise("qs.high", 8, 128, at=4, bits=4),
    )

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized, rounded
        from qformat_plugins.ggml.finish import largest_signed
        from qformat_plugins.ggml.uneven import nearest_index

        scales = _uneven_scales(blocks, weights).reshape(-1, 8)
        d = largest_signed(scales) * jnp.float32(-1 / 32)
        d, inverse = materialized(d, jnp.where(d != 0, 1 / d, 0))
        steps = rounded(inverse * scales, -32, 31)
        coded = d * floats(steps)
        (inverses,) = materialized(jnp.where(coded != 0, 1 / coded, 0))
        stored = steps + 32
        codes = nearest_index(blocks.reshape(-1, 8, 32) * inverses[:, :, None], NONLINEAR)
        return {
            "d": d,
            "scales_h": gathered(stored.reshape(-1, 2, 4).reshape(-1, 8) >> 4, 2, 1),
            "scales_l": gathered(stored & 15, 4, 1),
            "qs": gathered(codes.reshape(blocks.shape), 4, 16),
        }

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized

        low = jnp.stack([planes["scales_l"] & 15, planes["scales_l"] >> 4], axis=2).reshape(-1, 8)
        shifts = jnp.arange(0, 8, 2, dtype=jnp.uint8)
        high = ((planes["scales_h"][:, :, None] >> shifts) & 3).reshape(-1, 8)
        steps = (low | (high << 4)).astype(jnp.int8) - jnp.int8(32)
        (scales,) = materialized(floats(planes["d"]) * floats(steps))
        return scaled(entries(planes["qs"], NONLINEAR), scales)


class MXFP4(Ggml):
    """E2M1 numbers that share a power of two, as the OCP Microscaling specification has them.

    ::

        byte  0   1                                  16
              ┌───┬─────────┬─────────┬───┬─────────┐
              │ e │ q16  q0 │ q17  q1 │ … │ q31 q15 │  value = 2**(e - 128) * doubled[q]
              └───┴─────────┴─────────┴───┴─────────┘
    """

    id, block, size = "mxfp4", 32, 17
    summary = "4-bit floats with a shared power of two, block 32 (ggml, OCP MX)"
    fields = (
        Field("e", 0, 8),
        bytewise("qs.low", 1, 16, bits=4),
        bytewise("qs.high", 1, 16, at=4, bits=4),
    )

    def equivalent(self) -> Equivalent:
        """The planes of OCP MX; their minus zero is a zero here, and the scale 2**-127 is none there."""
        table = tuple(step / 2 for step in E2M1_DOUBLED)
        return Equivalent(Codebook(Codes(4), Floats("F8_E8M0"), table), _NIBBLES, scale="e")

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides
        import jax.numpy as jnp

        from qformat.schemes.numerics import bits_float, largest_magnitude, materialized

        largest = largest_magnitude(blocks)
        exponent = jnp.where(largest > 0, jnp.maximum(_floor_log2(largest) + 125, 0), 0)
        (unit,) = materialized(bits_float(jnp.maximum(exponent - 1, 0) << 23))
        middles = [(a + b) / 2 for a, b in pairwise(E2M1_DOUBLED[:8])]
        size = jnp.abs(blocks)
        steps = sum((size > unit * jnp.float32(middle)).astype(jnp.int32) for middle in middles)
        codes = jnp.where((blocks < 0) & (steps > 0), steps + 8, steps)
        return {"e": exponent.astype(jnp.uint8), "qs": gathered(codes, 4, 16)}

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        # A quarter first for the two lowest exponents, whose powers alone are below 2**-126.
        quarter = jnp.where(planes["e"] < 2, jnp.float32(0.25), jnp.float32(1))
        steps = scaled(entries(planes["qs"], E2M1_DOUBLED), quarter)
        return scaled(steps, half_power(jnp.where(planes["e"] < 2, planes["e"] + 2, planes["e"])))


class NVFP4(DecodeOnly):
    """E2M1 numbers, 4 sub-blocks of 16 with unsigned E4M3 scales.

    ::

        byte  0       4                                              35
              ┌───────┬───────────────────────────────────────────────┐
              │ d[4]  │ qs[32]                                        │
              └───────┴───────────────────────────────────────────────┘
        qs[8j + k]    7..4: q[16j+8+k]   3..0: q[16j+k]

        value = (d[j] / 2) * doubled[q]
    """

    id, block, size = "nvfp4", 64, 36
    summary = "4-bit floats with E4M3 scales, block 64 (ggml)"
    fields = (
        Field("d", 0, 8, 4),
        bytewise("qs.low", 4, 32, bits=4),
        bytewise("qs.high", 4, 32, at=4, bits=4),
    )

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        from qformat.schemes.numerics import bits_float

        code = planes["d"].astype(jnp.int32)
        exponent, fraction = code >> 3 & 15, code & 7
        normal = bits_float((exponent + 119) << 23 | fraction << 20)
        scale = jnp.where(exponent == 0, floats(fraction) * jnp.float32(2.0**-10), normal)
        scale = jnp.where((code == 0) | (code == 0x7F), 0, scale)
        return scaled(entries(planes["qs"], E2M1_DOUBLED, span=8), scale)


def _uneven_scales(blocks: Any, weights: Any) -> Any:
    """The searched scale of each 32 elements."""
    from qformat.schemes.numerics import hidden_zero
    from qformat_plugins.ggml.search import Search, grouped
    from qformat_plugins.ggml.uneven import uneven_scale

    given = None if weights is None else grouped(weights, 32)
    search = Search(grouped(blocks, 32), hidden_zero(blocks))
    return uneven_scale(search, NONLINEAR, 7, given)


def _floor_log2(values: Any) -> Any:
    """The floor of the base-2 logarithm as binary32 has it: just below a power of two it rounds up to it."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import float_bits

    bits = float_bits(values)
    above = (bits >> 23) - 126  # the logarithm is below this integer
    short = floats(0x800000 - (bits & 0x7FFFFF)) * jnp.float32(2.0**-24 / 0.6931471805599453)
    place = (float_bits(floats(jnp.abs(above))) >> 23) - 127
    place = jnp.where((above > 0) & (above & (above - 1) == 0), place - 1, place)
    half_step = jnp.where(above == 0, 0, 2.0 ** floats(place - 24))
    return jnp.where(short < half_step, above, above - 1)


def entries(data: Any, table: tuple[int, ...], span: int = 16) -> Any:
    """Entries of a table of signed bytes for the nibbles of bytes ``[n, m]``: ``[n, 2 * m]``."""
    import numpy as np

    from qformat.schemes.numerics import looked_up, materialized

    found = looked_up(np.asarray(table, np.int8), nibbles(data.reshape(-1, span)))
    return materialized(found)[0].reshape(data.shape[0], -1)


def half_power(exponents: Any) -> Any:
    """2**(e - 128) for bytes ``e`` from 2 on."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import bits_float

    return bits_float((exponents.astype(jnp.int32) - 1) << 23)
