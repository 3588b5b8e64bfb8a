"""8-bit floats with one scale per block: value = scale * number[code].

With ``s`` the scale as stored, s = max|v| / L and q = the code nearest to v * (1/s), where L is the
largest number of the format: 448 (E4M3) or 57344 (E5M2). The numbers are those of the OCP 8-bit
floating point specification; E4M3 is its variant without infinity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qformat.schemes import Codebook, Codes, Floats, Scheme, hookimpl, option
from qformat.schemes.minifloats import E4M3, E5M2

FORMATS = {"e4m3": E4M3, "e5m2": E5M2}


@dataclass(frozen=True)
class Fp8(Scheme):
    """Eight bits that are finest near zero; outliers cost the rest of the block little."""

    id = "fp8"
    summary = "8-bit floats (E4M3 or E5M2) with a scale per block"
    bad_values_show = True  # in the scale

    format: str = option("e4m3", one_of=tuple(FORMATS), help="exponent and mantissa bits of an element")
    block: int = option(128, one_of=(32, 64, 128, 256), help="elements that share a scale")
    scale: str = option("f32", one_of=("f32", "bf16", "f16"), help="how the scale is stored")

    def layout(self) -> Codebook:
        return Codebook(Codes(8), Floats(self.scale.upper()), FORMATS[self.format].table, self.block)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides, however important
        import jax.numpy as jnp

        from qformat.schemes.numerics import as_stored, largest_magnitude, materialized

        element = FORMATS[self.format]
        scale = as_stored(largest_magnitude(blocks) / element.largest, self.scale)
        scale, inverse = materialized(scale, jnp.where(scale > 0, 1 / scale, 0))
        return {"codes": element.nearest(blocks * inverse), "scales": scale}


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    return (Fp8,)
