"""Half-quadratic quantization: scale and float zero point that leave a few large errors and many small ones.

After Badri and Shaji (2023), who minimize the sum of |error|**p with p < 1, which heeds outliers less
than squares do, by turns: an extra term e takes the outliers out, and the zero point fits what is
left. Here the scale is fitted too, and importance weights count. In units of the first step::

    q = clip(round(v / scale + zero))         value = scale * (q - zero)
    e = shrink(v - value)                     shrink(x) = sign(x) * max(0, |x| - |x|**(p-1) / beta)
    scale, zero = the line through (q, v - e) beta grows by a little

Of all turns the one with the smallest sum of weight * error**2, with numbers as stored, is kept: the
other measure finds ways out of local minima, squares are what the output's error follows. At last the
scale grows by sum(v * v) / sum(v * value), which takes back that the line makes all numbers too small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qformat.schemes import Affine, Codes, Floats, Scheme, hookimpl, option

TURNS = 20
POWER = 0.7
BETA, GROWTH = 3.0, 1.01


@dataclass(frozen=True)
class Hqq(Scheme):
    """Integer codes, a scale and a zero point that is a float."""

    id = "hqq"
    summary = "2- to 8-bit, scale and float zero point by half-quadratic search"
    weighted = True

    bits: int = option(4, one_of=(2, 3, 4, 5, 6, 8), help="bits of a code")
    block: int = option(64, one_of=(32, 64, 128, 256), help="elements that share scale and zero point")
    scale: str = option("f16", one_of=("f16", "bf16", "f32"), help="how scale and zero point are stored")

    def layout(self) -> Affine:
        stored = Floats(self.scale.upper())
        return Affine(Codes(self.bits), stored, zero_point=stored, block=self.block)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        import jax.numpy as jnp
        from jax import lax

        from qformat.schemes.numerics import regrowth

        search = _Search(self, blocks, jnp.ones_like(blocks) if weights is None else weights)
        first = search.first()
        unit = jnp.where(first[0] > 0, first[0], 1)

        def turn(i: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
            best, scale, zero = state[:3], state[3], state[4]
            away = (blocks - search.value(scale, zero)) / unit
            size = jnp.abs(away)
            beta = BETA * GROWTH ** i.astype(jnp.float32)
            lost = jnp.sign(away) * jnp.maximum(0, size - jnp.maximum(size, 1e-4) ** (POWER - 1) / beta)
            scale, zero = search.line(scale, zero, blocks - lost * unit)
            return (*search.kept(best, scale, zero), scale, zero)

        start = (search.loss(*first), *first, *first)
        _, scale, zero = lax.fori_loop(0, TURNS, turn, start)[:3]
        codes = search.codes(scale, zero)
        factor = regrowth(blocks, search.value(scale, zero), search.weights)
        scale, _ = search.stored(scale * factor, zero)
        return {"codes": codes.astype(jnp.uint8), "scales": scale, "zero_points": zero}

    def sensitive(self) -> str:
        return Hqq(bits=8, block=self.block, scale=self.scale).spec()


@dataclass(frozen=True)
class _Search:
    scheme: Hqq
    blocks: Any
    weights: Any

    def stored(self, scale: Any, zero: Any) -> tuple[Any, Any]:
        from qformat.schemes.numerics import as_stored

        return as_stored(scale, self.scheme.scale), as_stored(zero, self.scheme.scale)

    def first(self) -> tuple[Any, Any]:
        """The codes span the block's range; a constant block is one step away from its zero point."""
        import jax.numpy as jnp

        from qformat.schemes.numerics import smallest_and_largest

        low, high = smallest_and_largest(self.blocks)
        step = (high - low) / (2**self.scheme.bits - 1)
        step, _ = self.stored(jnp.where(high > low, step, jnp.abs(low)), step)
        zero = jnp.where(step > 0, -low / step, 0)
        return self.stored(step, zero)

    def codes(self, scale: Any, zero: Any) -> Any:
        import jax.numpy as jnp

        from qformat.schemes.numerics import rounded

        inverse = jnp.where(scale > 0, 1 / scale, 0)
        return rounded(self.blocks * inverse + zero, 0, 2**self.scheme.bits - 1)

    def value(self, scale: Any, zero: Any) -> Any:
        import jax.numpy as jnp

        return scale * (self.codes(scale, zero).astype(jnp.float32) - zero)

    def loss(self, scale: Any, zero: Any) -> Any:
        import jax.numpy as jnp

        away = jnp.abs(self.value(scale, zero) - self.blocks)
        return jnp.sum(self.weights * away * away, axis=1, keepdims=True)

    def line(self, scale: Any, zero: Any, values: Any) -> tuple[Any, Any]:
        import jax.numpy as jnp

        from qformat.schemes.numerics import fitted_line

        codes = self.codes(scale, zero).astype(jnp.float32)
        slope, offset = fitted_line(codes, values, self.weights)
        usable = slope > 0
        slope = jnp.where(usable, slope, scale)
        return self.stored(slope, jnp.where(usable, -offset / slope, zero))

    def kept(self, best: tuple[Any, ...], scale: Any, zero: Any) -> tuple[Any, Any, Any]:
        """The better one, block by block."""
        import jax.numpy as jnp

        loss = self.loss(scale, zero)
        better = loss < best[0]
        return (
            jnp.where(better, loss, best[0]),
            jnp.where(better, scale, best[1]),
            jnp.where(better, zero, best[2]),
        )


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    return (Hqq,)
