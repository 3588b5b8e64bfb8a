"""NF4: sixteen levels at the quantiles of a normal distribution, with scales that are coded again.

value = scale * level[code], scale = max|v| of the block. The levels are those of QLoRA (Dettmers et
al., 2023), as bitsandbytes has them. With double quantization (``double`` scales to a group) the
scales are eight-bit codes between the group's smallest and largest::

    scale = step * code + least      step = (largest - least) / 255
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from qformat.schemes import Codebook, Codes, Floats, ScaleMin, Scheme, hookimpl, option

# fmt: off
LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)
# fmt: on


@dataclass(frozen=True)
class Nf4(Scheme):
    """Four bits for weights that are normally distributed."""

    id = "nf4"
    summary = "4-bit levels of a normal distribution, scales coded again in 8 bits (QLoRA)"

    block: int = option(64, one_of=(32, 64, 128), help="elements that share a scale")
    double: int = option(16, one_of=(0, 8, 16, 32, 64), help="scales coded together; 0: stored as they are")
    scale: str = option("f16", one_of=("f16", "bf16", "f32"), help="how scales are stored")

    def layout(self) -> Codebook:
        scale: Floats | ScaleMin = Floats(self.scale.upper())
        if self.double:
            scale = ScaleMin(Codes(8), scale, min=scale, block=self.double)
        return Codebook(Codes(4), scale, LEVELS, self.block)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides, however important
        import jax.numpy as jnp

        from qformat.schemes.numerics import hidden_zero, largest_magnitude, materialized

        values = blocks.reshape(-1, self.double or 1, self.block)
        planes, scale = self._scales(largest_magnitude(values)[:, :, 0], hidden_zero(blocks))
        (inverse,) = materialized(jnp.where(scale > 0, 1 / scale, 0))
        near = values * inverse[:, :, None]
        codes = sum((near > (a + b) / 2).astype(jnp.uint8) for a, b in pairwise(LEVELS))
        return {"codes": codes.reshape(blocks.shape), **planes}

    def _scales(self, wanted: Any, zero: Any) -> tuple[Mapping[str, Any], Any]:
        """The planes of the scales, and the scales as a reader will see them, ``[n, double]``."""
        import jax.numpy as jnp

        from qformat.schemes.numerics import as_stored, materialized, rounded

        if not self.double:
            scale = as_stored(wanted, self.scale)
            return {"scales": scale}, scale
        least, largest = jnp.min(wanted, 1, keepdims=True), jnp.max(wanted, 1, keepdims=True)
        least = as_stored(least, self.scale)
        step = as_stored((largest - least) / 255, self.scale)
        least, step, inverse = materialized(least, step, jnp.where(step > 0, 1 / step, 0))
        codes = rounded((wanted - least) * inverse, 0, 255)
        planes = {"scales.codes": codes.astype(jnp.uint8), "scales.scales": step, "scales.mins": least}
        return planes, (step * codes.astype(jnp.float32) + zero) + least

    def sensitive(self) -> str:
        return "sym8"


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    return (Nf4,)
