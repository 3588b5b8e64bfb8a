"""MXFP8 of the OCP Microscaling specification: 32 eight-bit floats that share a power of two.

With e the exponent of the largest power of two in an element format (8 for E4M3, 15 for E5M2)::

    scale = 2 ** (floor(log2(max|v|)) - e)      q = the code nearest to v / scale, saturating

The scale is one byte, E8M0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qformat.schemes import Codebook, Codes, Floats, Scheme, hookimpl, option
from qformat.schemes.minifloats import E4M3, E5M2, power_of_two_scale

FORMATS = {"e4m3": E4M3, "e5m2": E5M2}


@dataclass(frozen=True)
class Mxfp8(Scheme):
    """Eight-bit floats, block 32, scales without a mantissa."""

    id = "mxfp8"
    summary = "8-bit floats with a shared power of two, block 32 (OCP MX)"

    format: str = option("e4m3", one_of=tuple(FORMATS), help="exponent and mantissa bits of an element")

    def layout(self) -> Codebook:
        return Codebook(Codes(8), Floats("F8_E8M0"), FORMATS[self.format].table, block=32)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides, however important
        from qformat.schemes.numerics import largest_magnitude, materialized

        element = FORMATS[self.format]
        scale = power_of_two_scale(largest_magnitude(blocks), element)
        scale, inverse = materialized(scale, 1 / scale)
        return {"codes": element.nearest(blocks * inverse), "scales": scale}


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    return (Mxfp8,)
