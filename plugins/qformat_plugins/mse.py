"""4, 3 and 2 bits whose scale and minimum are searched for the smallest error: value = scale * code + min.

Plain affine codes span a block's whole range, so one outlier widens every step. Here several ranges
are tried, each cut by some share at either end. Codes are the nearest for that range; the
least-squares line through (code, value) gives scale and minimum, as stored; codes are chosen again
for those. The smallest sum of weight * error**2 wins, and is then refined in the same way::

    for cut in CUTS:     scale, min = line(codes of the range that is cut)    codes = round((v - min) / scale)
    for _ in range(4):   scale, min = line(codes)                             kept if the error falls

The whole range is among those tried, so no block comes out of the search with a larger error than it
had. At last scale and min grow by sum(v * v) / sum(v * v'), about a tenth at 2 bits: the line of least
squares makes all numbers too small, which adds up over a sum where errors cancel out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qformat.schemes import Codes, Floats, ScaleMin, Scheme, hookimpl, option

REFINEMENTS = 4


@dataclass(frozen=True)
class Mse(Scheme):
    """What the three share."""

    weighted: ClassVar[bool] = True
    bits: ClassVar[int]
    cuts: ClassVar[tuple[float, ...]]  # shares of the range to cut off at an end

    block: int = option(64, one_of=(32, 64, 128, 256), help="elements that share a scale and a minimum")
    scale: str = option("f16", one_of=("f16", "bf16", "f32"), help="how scales and minima are stored")

    def layout(self) -> ScaleMin:
        stored = Floats(self.scale.upper())
        return ScaleMin(Codes(self.bits), stored, min=stored, block=self.block)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        import jax.numpy as jnp

        from qformat.schemes.numerics import smallest_and_largest

        search = _Search(self, blocks, jnp.ones_like(blocks) if weights is None else weights)
        low, high = smallest_and_largest(blocks)
        best = search.best_range(low, high, self.cuts)
        scale, least = search.refined(best)
        codes = search.codes(scale, least)
        scale, least = search.regrown(scale, least)
        return {"codes": codes, "scales": scale, "mins": least}

    def sensitive(self) -> str:
        return f"asym8:block={self.block},scale={self.scale},zero=min"


@dataclass(frozen=True)
class _Search:
    scheme: Mse
    blocks: Any
    weights: Any

    def codes(self, scale: Any, least: Any) -> Any:
        """The nearest codes for a scale and minimum ``[n, 1]``."""
        import jax.numpy as jnp

        from qformat.schemes.numerics import rounded

        inverse = jnp.where(scale > 0, 1 / scale, 0)
        top = 2**self.scheme.bits - 1
        return rounded((self.blocks - least) * inverse, 0, top).astype(jnp.uint8)

    def error(self, scale: Any, least: Any) -> Any:
        import jax.numpy as jnp

        away = scale * self.codes(scale, least).astype(jnp.float32) + least - self.blocks
        return jnp.sum(self.weights * away * away, axis=1, keepdims=True)

    def line(self, scale: Any, least: Any) -> tuple[Any, Any]:
        """The line through the codes of a scale and minimum, as stored."""
        import jax.numpy as jnp

        from qformat.schemes.numerics import as_stored, fitted_line

        codes = self.codes(scale, least).astype(jnp.float32)
        slope, offset = fitted_line(codes, self.blocks, self.weights)
        return as_stored(jnp.maximum(slope, 0), self.scheme.scale), as_stored(offset, self.scheme.scale)

    def kept(self, best: tuple[Any, Any, Any], scale: Any, least: Any) -> tuple[Any, Any, Any]:
        """The better one, block by block."""
        import jax.numpy as jnp

        error = self.error(scale, least)
        better = error < best[0]
        return (
            jnp.where(better, error, best[0]),
            jnp.where(better, scale, best[1]),
            jnp.where(better, least, best[2]),
        )

    def best_range(self, low: Any, high: Any, cuts: tuple[float, ...]) -> tuple[Any, Any, Any]:
        import jax.numpy as jnp
        from jax import lax

        from qformat.schemes.numerics import as_stored

        steps = 2**self.scheme.bits - 1
        pairs = jnp.asarray([(a, b) for a in cuts for b in cuts], jnp.float32)
        least = as_stored(low, self.scheme.scale)
        scale = as_stored((high - least) / steps, self.scheme.scale)

        def attempt(i: Any, best: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            start = low + (high - low) * pairs[i, 0]
            width = (high - low) * (1 - pairs[i, 0] - pairs[i, 1])
            return self.kept(best, *self.line(width / steps, start))

        found: tuple[Any, Any, Any] = lax.fori_loop(
            0, len(pairs), attempt, (self.error(scale, least), scale, least)
        )
        return found

    def refined(self, best: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        from jax import lax

        def attempt(_i: Any, best: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            return self.kept(best, *self.line(best[1], best[2]))

        _, scale, least = lax.fori_loop(0, REFINEMENTS, attempt, best)
        return scale, least

    def regrown(self, scale: Any, least: Any) -> tuple[Any, Any]:
        """Scale and minimum without the shrinkage of the fit, as stored."""
        import jax.numpy as jnp

        from qformat.schemes.numerics import as_stored, regrowth

        decoded = scale * self.codes(scale, least).astype(jnp.float32) + least
        factor = regrowth(self.blocks, decoded, self.weights)
        return as_stored(scale * factor, self.scheme.scale), as_stored(least * factor, self.scheme.scale)


class Mse4(Mse):
    id, bits, cuts = "mse4", 4, (0.0, 0.05, 0.1, 0.16)
    summary = "4-bit with scale and minimum searched for the smallest error"


class Mse3(Mse):
    id, bits, cuts = "mse3", 3, (0.0, 0.06, 0.12, 0.2)
    summary = "3-bit with scale and minimum searched for the smallest error"


class Mse2(Mse):
    id, bits, cuts = "mse2", 2, (0.0, 0.08, 0.16, 0.24, 0.32)
    summary = "2-bit with scale and minimum searched for the smallest error"


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    return Mse4, Mse3, Mse2
