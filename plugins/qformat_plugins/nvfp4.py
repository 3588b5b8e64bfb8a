"""NVIDIA's NVFP4 in planes: E2M1 floats, an E4M3 scale for 16 of them, a float32 scale above those.

::

    super = max|v| of the superblock / (6 * 448)
    scale = super * E4M3(max|v| of the block / 6 / super)      q = the code nearest to v / scale

NVIDIA keeps one float32 for a whole tensor. Here it belongs to ``group`` scales of a row, so that a
tensor can be coded in one pass and no row depends on another; a tensor-wide scale is the same layout
with equal numbers. The scheme ``nvfp4`` is GGUF's record of 36 bytes, which has no second scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qformat.schemes import Codebook, Codes, Floats, Scheme, hookimpl, option
from qformat.schemes.minifloats import E2M1, E4M3

BLOCK = 16


@dataclass(frozen=True)
class Nvfp4(Scheme):
    """Four-bit floats, block 16, scales that are eight-bit floats."""

    id = "nvfp4-planar"
    summary = "4-bit floats, block 16, E4M3 scales under float32 ones (NVIDIA), in planes"

    group: int = option(16, one_of=(8, 16, 32, 64), help="scales that share a float32 scale")

    def layout(self) -> Codebook:
        scales = Codebook(Codes(8), Floats("F32"), E4M3.table, block=self.group)
        return Codebook(Codes(4), scales, E2M1.table, block=BLOCK)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides, however important
        import jax.numpy as jnp

        from qformat.schemes.numerics import largest_magnitude, materialized

        values = blocks.reshape(-1, self.group, BLOCK)
        wanted = largest_magnitude(values)[:, :, 0] / E2M1.largest
        above = jnp.max(wanted, axis=1, keepdims=True) / E4M3.largest
        (above,) = materialized(above)
        coded = E4M3.nearest(wanted * jnp.where(above > 0, 1 / above, 0))
        scale = above * E4M3.values(coded)
        (inverse,) = materialized(jnp.where(scale > 0, 1 / scale, 0))
        codes = E2M1.nearest(values * inverse[:, :, None])
        return {"codes": codes.reshape(blocks.shape), "scales.codes": coded, "scales.scales": above}

    def sensitive(self) -> str:
        return "sym8"


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    return (Nvfp4,)
