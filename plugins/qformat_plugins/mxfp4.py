"""MXFP4 of the OCP Microscaling specification in planes: 32 E2M1 floats that share a power of two.

::

    scale = 2 ** (floor(log2(max|v|)) - 2)      q = the code nearest to v / scale, saturating

The scheme ``mxfp4`` has the same numbers in GGUF's records of 17 bytes, which only its plugin
decodes; this one has codes and scales apart, so that any reader of the container decodes it. They
round ties differently: to the even code here, as OCP has it, to the smaller number in ggml.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qformat.schemes import Codebook, Codes, Floats, Scheme, hookimpl
from qformat.schemes.minifloats import E2M1, power_of_two_scale


@dataclass(frozen=True)
class Mxfp4(Scheme):
    """Four-bit floats, block 32, scales without a mantissa."""

    id = "mxfp4-planar"
    summary = "4-bit floats with a shared power of two, block 32 (OCP MX), in planes"

    def layout(self) -> Codebook:
        return Codebook(Codes(4), Floats("F8_E8M0"), E2M1.table, block=32)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides, however important
        from qformat.schemes.numerics import largest_magnitude, materialized

        scale = power_of_two_scale(largest_magnitude(blocks), E2M1)
        scale, inverse = materialized(scale, 1 / scale)
        return {"codes": E2M1.nearest(blocks * inverse), "scales": scale}

    def sensitive(self) -> str:
        return "sym8"


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    return (Mxfp4,)
