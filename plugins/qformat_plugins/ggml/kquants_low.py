"""Q2_K and Q3_K: superblocks of 256 elements, whose 16 sub-blocks have coded scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qformat_plugins.ggml import superblocks
from qformat_plugins.ggml.base import (
    WeightedBlocks,
    bytewise,
    f16,
    floats,
    gathered,
    of_halves,
    spread,
    stacked,
    stretches,
)
from qformat_plugins.ggml.superblocks import Planes, Sections


class Q2_K(WeightedBlocks):  # noqa: N801  the names are ggml's
    """16 sub-blocks of 16 with 4-bit scales and minima.

    ::

        byte  0                 16                            80     82
              ┌─────────────────┬──────────────────────────────┬──────┬──────┐
              │ scales[16]      │ qs[64]                       │ d    │ dmin │
              └─────────────────┴──────────────────────────────┴──────┴──────┘
        scales[s]      7..4: minimum of sub-block s   3..0: its scale
        qs[32h + k]    7..6: q[128h+96+k]  5..4: q[128h+64+k]  3..2: q[128h+32+k]  1..0: q[128h+k]

        value = (d * scale) * q - (dmin * minimum)
    """

    id, block, size = "q2_k", 256, 84
    summary = "2-bit superblocks with scales and minima, 2.6 bpw (ggml)"
    fields = (
        bytewise("scales.scale", 0, 16, bits=4),
        bytewise("scales.min", 0, 16, at=4, bits=4),
        *(bytewise(f"qs.{s}", 16, 64, at=2 * s, bits=2) for s in range(4)),
        f16("d", 80),
        f16("dmin", 82),
    )

    def as_planes(self, sections: Sections) -> Planes:
        return superblocks.q2_k(sections)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        import jax.numpy as jnp

        from qformat.schemes.numerics import hidden_zero, materialized
        from qformat_plugins.ggml.finish import as_bytes, coded, codes_above
        from qformat_plugins.ggml.search import Search, Steps, grouped, scale_and_low
        from qformat_plugins.ggml.weighted import superblock

        zero = hidden_zero(blocks)
        if weights is not None:
            fit, (d, scales), (dmin, mins) = superblock(blocks, weights, 16, 3, 15, zero)
        else:
            search = Search(grouped(blocks, 16), zero)
            fit = scale_and_low(search, Steps(3, -0.5, 0.1, 16), jnp.abs(search.x), absolute=True)
            d, scales = coded(fit.scale.reshape(-1, 16), 15, zero)
            dmin, mins = coded(-fit.low.reshape(-1, 16), 15, zero)
        both = (scales | (mins << 4)) & 255
        d, dmin, both = materialized(d, dmin, both)
        codes = codes_above(
            blocks, fit, floats(d) * floats(both & 15), floats(dmin) * floats(both >> 4), 3, zero
        )
        return {
            "scales": both.astype(jnp.uint8),
            "qs": gathered(as_bytes(codes), 2, 32),
            "d": d,
            "dmin": dmin,
        }

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        from qformat.schemes.numerics import materialized

        scales = floats(planes["d"]) * floats(planes["scales"] & 15)
        mins = floats(planes["dmin"]) * floats(planes["scales"] >> 4)
        scales, mins = materialized(scales, mins)
        codes = stretches(planes["qs"], 2, 32)
        return stacked(
            [
                product(floats(codes[j % 4][:, j // 4]) * of_halves(scales, j)) - of_halves(mins, j)
                for j in range(8)
            ]
        )


class Q3_K(WeightedBlocks):  # noqa: N801
    """16 sub-blocks of 16 with 6-bit scales; codes are signed.

    ::

        byte  0             32                           96             108
              ┌─────────────┬────────────────────────────┬───────────────┬──────┐
              │ hmask[32]   │ qs[64]                     │ scales[12]    │ d    │
              └─────────────┴────────────────────────────┴───────────────┴──────┘
        hmask[k]          bit j: third bit of q[32j+k], set where the code is not negative
        qs[32h + k]       as in Q2_K
        scales[0..7]      7..4: low bits of scale j+8    3..0: low bits of scale j
        scales[8..11]     7..6: high bits of scale j+12, 5..4: j+8, 3..2: j+4, 1..0: j

        value = (d * (scale - 32)) * (q - (0 or 4))
    """

    id, block, size = "q3_k", 256, 110
    heed = 2
    summary = "3-bit superblocks, 3.4 bpw (ggml)"
    fields = (
        *(bytewise(f"hmask.{j}", 0, 32, at=j, bits=1) for j in range(8)),
        *(bytewise(f"qs.{s}", 32, 64, at=2 * s, bits=2) for s in range(4)),
        bytewise("scales.low_0", 96, 8, bits=4),
        bytewise("scales.low_8", 96, 8, at=4, bits=4),
        *(bytewise(f"scales.high_{4 * s}", 104, 4, at=2 * s, bits=2) for s in range(4)),
        f16("d", 108),
    )

    def as_planes(self, sections: Sections) -> Planes:
        return superblocks.q3_k(sections)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        import jax.numpy as jnp

        from qformat.schemes.numerics import hidden_zero, materialized
        from qformat_plugins.ggml.finish import codes_around
        from qformat_plugins.ggml.weighted import signed_superblock

        zero = hidden_zero(blocks)
        if weights is None:
            d, stored, own = self.search(blocks, zero)
        else:
            d, stored, own = signed_superblock(blocks, weights, 16, 4, 32, zero)
        d, stored = materialized(d.astype(jnp.float16), stored)
        scales = floats(d) * floats(stored - 32)
        codes = codes_around(blocks, lambda: own(scales) if weights is None else own, scales, 4)
        low = gathered(stored & 15, 4, 8)
        return {
            "hmask": gathered(codes >> 2, 1, 32),
            "qs": gathered(codes & 3, 2, 32),
            "scales": jnp.concatenate([low, gathered(stored >> 4, 2, 4)], axis=1),
            "d": d,
        }

    def search(self, blocks: Any, zero: Any) -> tuple[Any, Any, Any]:
        """The scale ``[n, 1]``, the coded scales ``[n, 16]``, and what gives the codes that the search found.

        It needs to know the scales as they are stored: the codes are looked for only where one became zero.
        """
        import jax.numpy as jnp
        from jax import lax

        from qformat.schemes.numerics import materialized, rounded
        from qformat_plugins.ggml.finish import largest_signed
        from qformat_plugins.ggml.refined import refined_scale

        scale, some, codes = refined_scale(blocks, 16, 4, zero)
        scales = scale.reshape(-1, 16)
        top = largest_signed(scales)
        (inverse,) = materialized(jnp.where(top == 0, 0, jnp.float32(-32) / top))
        steps = rounded(inverse * scales, -32, 31)
        stored = jnp.where(top == 0, 0, steps + 32)  # no scale at all leaves zero bytes

        def own(final: Any) -> Any:
            return lax.cond(
                jnp.any((final == 0) & some.reshape(-1, 16)),
                lambda: codes().reshape(blocks.shape),
                lambda: jnp.zeros_like(blocks),
            )

        return jnp.where(top == 0, 0, 1 / inverse), stored, own

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized

        data = planes["scales"]
        low = spread(data[:, :8], 4, 8).reshape(-1, 16)
        high = spread(data[:, 8:], 2, 4).reshape(-1, 16)
        steps = (low | (high << 4)).astype(jnp.int8) - jnp.int8(32)
        (scales,) = materialized(floats(planes["d"]) * floats(steps))
        low, third = stretches(planes["qs"], 2, 32), stretches(planes["hmask"], 1, 32)
        codes = [(low[j % 4][:, j // 4] | (third[j][:, 0] << 2)) - 4 for j in range(8)]
        return stacked([floats(each) * of_halves(scales, j) for j, each in enumerate(codes)])
