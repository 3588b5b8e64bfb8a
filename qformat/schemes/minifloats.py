"""Floats of 4 and 8 bits as tables and codes, for schemes whose elements or scales are such numbers.

A code is the number's own bits: sign, exponent, mantissa, highest first. ``nearest`` rounds half
to even and saturates, which is what the OCP specifications ask of a conversion and what
``ml_dtypes`` does within the range.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class MiniFloat:
    """A float type of few bits; ``top`` is the code of its largest number.

    >>> E2M1.table[:8], E2M1.largest
    ((0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0), 6.0)
    """

    exponent: int
    mantissa: int
    top: int
    dtype: str | None = None  # its name in jax.numpy, where a conversion by XLA is the quickest way

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def table(self) -> tuple[float, ...]:
        """The number of each code; 0 for codes that are NaN or infinite, which `nearest` never gives."""
        half = [self._number(code) for code in range(self.top + 1)]
        others = [0.0] * ((1 << self.bits - 1) - len(half))
        return (*half, *others, *(-number for number in half), *others)

    @property
    def largest(self) -> float:
        return self._number(self.top)

    @property
    def largest_exponent(self) -> int:
        """The exponent of the largest number's power of two."""
        return (self.top >> self.mantissa) - self._bias

    @property
    def _bias(self) -> int:
        return (1 << self.exponent - 1) - 1

    def _number(self, code: int) -> float:
        power, fraction = divmod(code, 1 << self.mantissa)
        scale = 2.0 ** (max(power, 1) - self._bias - self.mantissa)
        return scale * (fraction + ((1 << self.mantissa) if power else 0))

    def nearest(self, values: Any) -> Any:
        """The code of the nearest number as uint8, ties to the even code; too large ones saturate."""
        import jax.numpy as jnp
        from jax import lax

        if self.dtype is not None:
            within = jnp.clip(values, -self.largest, self.largest)
            return lax.bitcast_convert_type(within.astype(self.dtype), jnp.uint8)
        size, code = jnp.abs(values), jnp.zeros(values.shape, jnp.uint8)
        for low, (a, b) in enumerate(pairwise(self.table[: self.top + 1])):
            middle = jnp.float32((a + b) / 2)
            passed = size >= middle if low % 2 else size > middle
            code = code + passed.astype(jnp.uint8)
        sign = (values < 0).astype(jnp.uint8) << jnp.uint8(self.bits - 1)
        return code | sign

    def values(self, codes: Any) -> Any:
        """The numbers of codes, as float32."""
        import jax.numpy as jnp

        return jnp.asarray(self.table, jnp.float32)[codes.astype(jnp.int32)]


E2M1 = MiniFloat(2, 1, 0x7)
E4M3 = MiniFloat(4, 3, 0x7E, "float8_e4m3fn")
E5M2 = MiniFloat(5, 2, 0x7B, "float8_e5m2")


def power_of_two_scale(largest: Any, element: MiniFloat) -> Any:
    """The shared scale of the OCP Microscaling formats: 2**(floor(log2(largest)) - largest exponent).

    Never below 2**-126, the smallest that counts; a block of zeros gets that.
    """
    import jax.numpy as jnp

    from qformat.schemes.numerics import bits_float, float_bits

    exponent = (float_bits(largest) >> 23) - 127 - element.largest_exponent
    return bits_float((jnp.maximum(exponent, -126) + 127) << 23)
