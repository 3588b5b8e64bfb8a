"""Symmetric and asymmetric integer schemes of 8, 6, 5, 4, 3 and 2 bits.

With ``v`` a block's values, ``b`` the bits and ``s`` the scale *as stored*::

    symmetric   s = max|v| / (2**(b-1) - 1)    q = round(v * (1/s))          v' = s * q
    zero=point  s = (hi - lo) / (2**b - 1)     q = round(v * (1/s)) + z      v' = s * (q - z)
                                               z = qmin - round(lo * (1/s))
    zero=min    s = (max - min) / (2**b - 1)   q = round((v - min) * (1/s))  v' = s * q + min

with lo = min(v, 0) and hi = max(v, 0), so that the zero point is itself a code and zero decodes
to zero. Codes are signed, except with zero=min. Rounding is half to even, and codes are clipped
to their range (a scale that was rounded down can push the largest one step over).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qformat.schemes import Affine, Codes, Floats, ScaleMin, Scheme, hookimpl, option

BLOCKS = tuple(range(32, 257, 32))


@dataclass(frozen=True)
class Integer(Scheme):
    """What all of them share: the width of a code, the block, and how the scale is stored."""

    bits: ClassVar[int]
    bad_values_show: ClassVar[bool] = True  # in the scale

    block: int = option(32, one_of=BLOCKS, help="elements that share a scale")
    scale: str = option("f16", one_of=("f16", "bf16", "f32"), help="how the scale is stored")

    def stored(self, scale: Any) -> Any:
        """The scale, rounded as the file will hold it, so that codes are chosen for that."""
        from qformat.schemes.numerics import as_stored

        return as_stored(scale, self.scale)


@dataclass(frozen=True)
class Symmetric(Integer):
    """One scale per block; zero is a code."""

    def layout(self) -> Affine:
        return Affine(Codes(self.bits, signed=True), Floats(self.scale.upper()), block=self.block)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides, however important
        import jax.numpy as jnp

        from qformat.schemes.numerics import largest_magnitude, materialized, rounded

        top = 2 ** (self.bits - 1) - 1
        scale = self.stored(largest_magnitude(blocks) / top)
        scale, inverse = materialized(scale, _inverse(scale))
        codes = rounded(blocks * inverse, -top, top)
        return {"codes": codes.astype(jnp.int8), "scales": scale}

    def sensitive(self) -> str:
        return Sym8(block=self.block, scale=self.scale).spec()


@dataclass(frozen=True)
class Asymmetric(Integer):
    """A scale and an offset per block: the codes span the block's own range."""

    zero: str = option(
        "point", one_of=("point", "min"), help="offset as an integer code or as a float minimum"
    )

    def layout(self) -> Affine | ScaleMin:
        scale = Floats(self.scale.upper())
        if self.zero == "min":
            return ScaleMin(Codes(self.bits), scale, min=scale, block=self.block)
        code = Codes(self.bits, signed=True)
        return Affine(code, scale, zero_point=code, block=self.block)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the extreme values decide, however important
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized, rounded, smallest_and_largest

        low, high = smallest_and_largest(blocks)
        steps = 2**self.bits - 1
        if self.zero == "min":
            low = self.stored(low)
            scale = self.stored((high - low) / steps)
            low, scale, inverse = materialized(low, scale, _inverse(scale))
            codes = rounded((blocks - low) * inverse, 0, steps)
            return {"codes": codes.astype(jnp.uint8), "scales": scale, "mins": low}
        low, high = jnp.minimum(low, 0), jnp.maximum(high, 0)
        scale = self.stored((high - low) / steps)
        inverse, least = _inverse(scale), -(2 ** (self.bits - 1))
        zero = least - rounded(low * inverse, -steps, 0)
        first, last = (jnp.float32(end) - zero for end in (least, least + steps))
        scale, inverse, zero, first, last = materialized(scale, inverse, zero, first, last)
        codes = rounded(blocks * inverse, first, last) + zero
        return {"codes": codes.astype(jnp.int8), "scales": scale, "zero_points": zero.astype(jnp.int8)}

    def sensitive(self) -> str:
        return Asym8(block=self.block, scale=self.scale, zero=self.zero).spec()


def _inverse(scale: Any) -> Any:
    """1 / scale, and 0 for a block of zeros or of values too small for the scale's type."""
    import jax.numpy as jnp

    return jnp.where(scale > 0, 1 / scale, 0)


class Sym8(Symmetric):
    id, bits, summary = "sym8", 8, "8-bit symmetric: scale * code, codes -127 to 127"


class Sym6(Symmetric):
    id, bits, summary = "sym6", 6, "6-bit symmetric: scale * code, codes -31 to 31"


class Sym5(Symmetric):
    id, bits, summary = "sym5", 5, "5-bit symmetric: scale * code, codes -15 to 15"


class Sym4(Symmetric):
    id, bits, summary = "sym4", 4, "4-bit symmetric: scale * code, codes -7 to 7"


class Sym3(Symmetric):
    id, bits, summary = "sym3", 3, "3-bit symmetric: scale * code, codes -3 to 3"


class Sym2(Symmetric):
    id, bits, summary = "sym2", 2, "2-bit symmetric: scale * code, codes -1, 0, 1"


class Asym8(Asymmetric):
    id, bits, summary = "asym8", 8, "8-bit asymmetric: scale * (code - zero point), 256 levels"


class Asym6(Asymmetric):
    id, bits, summary = "asym6", 6, "6-bit asymmetric: scale * (code - zero point), 64 levels"


class Asym5(Asymmetric):
    id, bits, summary = "asym5", 5, "5-bit asymmetric: scale * (code - zero point), 32 levels"


class Asym4(Asymmetric):
    id, bits, summary = "asym4", 4, "4-bit asymmetric: scale * (code - zero point), 16 levels"


class Asym3(Asymmetric):
    id, bits, summary = "asym3", 3, "3-bit asymmetric: scale * (code - zero point), 8 levels"


class Asym2(Asymmetric):
    id, bits, summary = "asym2", 2, "2-bit asymmetric: scale * (code - zero point), 4 levels"


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    return Sym8, Sym6, Sym5, Sym4, Sym3, Sym2, Asym8, Asym6, Asym5, Asym4, Asym3, Asym2
