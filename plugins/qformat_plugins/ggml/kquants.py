"""Q4_K, Q5_K and Q6_K: superblocks of 256 elements, whose sub-blocks have coded scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from qformat.schemes import Field
from qformat_plugins.ggml import superblocks
from qformat_plugins.ggml.base import (
    WeightedBlocks,
    bytewise,
    f16,
    floats,
    gathered,
    of_halves,
    stacked,
    stretches,
)
from qformat_plugins.ggml.superblocks import Planes, Sections


class EightSubBlocks(WeightedBlocks):
    """8 sub-blocks of 32, with 6-bit scales and minima in 12 bytes.

    ::

        scales[0..3]      7..6: high bits of scale j+4     5..0: scale j
        scales[4..7]      7..6: high bits of minimum j+4   5..0: minimum j
        scales[8..11]     7..4: low bits of minimum j+4    3..0: low bits of scale j+4

        value = (d * scale) * q - (dmin * minimum)
    """

    block: ClassVar[int] = 256
    heed: ClassVar[int] = 2
    steps: ClassVar[tuple[int, float, float, int]]

    def search(self, blocks: Any, weights: Any) -> tuple[dict[str, Any], Any]:
        """The sections of the scales, and the codes ``[n, 256]``."""
        import jax.numpy as jnp

        from qformat.schemes.numerics import hidden_zero, materialized
        from qformat_plugins.ggml.finish import as_bytes, coded, codes_above
        from qformat_plugins.ggml.search import Search, Steps, every, grouped, scale_and_low
        from qformat_plugins.ggml.weighted import superblock

        zero, steps = hidden_zero(blocks), Steps(*self.steps)
        if weights is not None:
            fit, (d, scales), (dmin, mins) = superblock(blocks, weights, 32, steps.top, 63, zero)
        else:
            search = Search(grouped(blocks, 32), zero)
            squares = search.total(lambda x: search.alone(x * x))
            (width,) = materialized(jnp.sqrt(squares * jnp.float32(1 / 32)))
            fit = scale_and_low(search, steps, every(width) + jnp.abs(search.x), absolute=False)
            d, scales = coded(fit.scale.reshape(-1, 8), 63, zero)
            dmin, mins = coded(-fit.low.reshape(-1, 8), 63, zero)
        scales, mins = (jnp.minimum(a & 255, 63) for a in (scales, mins))
        d, scales, dmin, mins = materialized(d, scales, dmin, mins)
        codes = codes_above(
            blocks, fit, floats(d) * floats(scales), floats(dmin) * floats(mins), steps.top, zero
        )
        return {"d": d, "dmin": dmin, "scales": _twelve(scales, mins)}, as_bytes(codes)

    def values(self, codes: list[Any], planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        """The elements ``[n, 256]`` of codes ``[n, 32]``, one for each sub-block."""
        scales, mins = self.scales(planes)
        return stacked(
            [
                product(floats(each) * scales[:, j : j + 1]) - mins[:, j : j + 1]
                for j, each in enumerate(codes)
            ]
        )

    def scales(self, planes: Mapping[str, Any]) -> tuple[Any, Any]:
        """Scales and minima ``[n, 8]``."""
        from qformat.schemes.numerics import materialized

        scales, mins = superblocks.twelve(planes["scales"])
        found = materialized(floats(planes["d"]) * floats(scales), floats(planes["dmin"]) * floats(mins))
        return found[0], found[1]


def _twelve(scales: Any, mins: Any) -> Any:
    """6-bit scales and minima ``[n, 8]`` as 12 bytes."""
    import jax.numpy as jnp

    first = scales[:, :4] | (scales[:, 4:] >> 4 << 6)
    second = mins[:, :4] | (mins[:, 4:] >> 4 << 6)
    third = (scales[:, 4:] & 15) | ((mins[:, 4:] & 15) << 4)
    return jnp.concatenate([first, second, third], axis=1).astype(jnp.uint8)


def _scale_fields(byte: int) -> tuple[Field, ...]:
    return (
        bytewise("scales.scale_0", byte, 4, bits=6),
        bytewise("scales.scale_4_high", byte, 4, at=6, bits=2),
        bytewise("scales.min_0", byte + 4, 4, bits=6),
        bytewise("scales.min_4_high", byte + 4, 4, at=6, bits=2),
        bytewise("scales.scale_4_low", byte + 8, 4, bits=4),
        bytewise("scales.min_4_low", byte + 8, 4, at=4, bits=4),
    )


class Q4_K(EightSubBlocks):  # noqa: N801
    """Nibbles.

    ::

        byte  0      2      4               16                                  143
              ┌──────┬──────┬───────────────┬──────────────────────────────────┐
              │ d    │ dmin │ scales[12]    │ qs[128]                          │
              └──────┴──────┴───────────────┴──────────────────────────────────┘
        qs[32g + k]    7..4: q[64g+32+k]   3..0: q[64g+k]
    """

    id, size = "q4_k", 144
    steps = (15, -1.0, 0.1, 21)
    summary = "4-bit superblocks with scales and minima, 4.5 bpw (ggml)"
    fields = (
        f16("d", 0),
        f16("dmin", 2),
        *_scale_fields(4),
        bytewise("qs.low", 16, 128, bits=4),
        bytewise("qs.high", 16, 128, at=4, bits=4),
    )

    def as_planes(self, sections: Sections) -> Planes:
        return superblocks.q4_k(sections)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        sections, codes = self.search(blocks, weights)
        return sections | {"qs": gathered(codes, 4, 32)}

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        codes = stretches(planes["qs"], 4, 32)
        return self.values([codes[j % 2][:, j // 2] for j in range(8)], planes, product)


class Q5_K(EightSubBlocks):  # noqa: N801
    """Nibbles and fifth bits.

    ::

        byte  0      2      4               16          48                         175
              ┌──────┬──────┬───────────────┬───────────┬─────────────────────────┐
              │ d    │ dmin │ scales[12]    │ qh[32]    │ qs[128]                 │
              └──────┴──────┴───────────────┴───────────┴─────────────────────────┘
        qh[k]          bit j: fifth bit of q[32j+k]
        qs[32g + k]    as in Q4_K
    """

    id, size = "q5_k", 176
    steps = (31, -0.5, 0.1, 16)
    summary = "5-bit superblocks with scales and minima, 5.5 bpw (ggml)"
    fields = (
        f16("d", 0),
        f16("dmin", 2),
        *_scale_fields(4),
        *(bytewise(f"qh.{j}", 16, 32, at=j, bits=1) for j in range(8)),
        bytewise("qs.low", 48, 128, bits=4),
        bytewise("qs.high", 48, 128, at=4, bits=4),
    )

    def as_planes(self, sections: Sections) -> Planes:
        return superblocks.q5_k(sections)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        sections, codes = self.search(blocks, weights)
        return sections | {"qh": gathered(codes >> 4, 1, 32), "qs": gathered(codes & 15, 4, 32)}

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        codes, fifth = stretches(planes["qs"], 4, 32), stretches(planes["qh"], 1, 32)
        joined = [codes[j % 2][:, j // 2] | (fifth[j][:, 0] << 4) for j in range(8)]
        return self.values(joined, planes, product)


class Q6_K(WeightedBlocks):  # noqa: N801
    """16 sub-blocks of 16 with signed 8-bit scales.

    ::

        byte  0                            128             192             208
              ┌────────────────────────────┬───────────────┬───────────────┬──────┐
              │ ql[128]                    │ qh[64]        │ scales[16]    │ d    │
              └────────────────────────────┴───────────────┴───────────────┴──────┘
        ql[64h + k]    7..4: low bits of q[128h+64+k]   3..0: low bits of q[128h+k]
        qh[32h + k]    7..6: high bits of q[128h+96+k], 5..4: q[128h+64+k], 3..2: q[128h+32+k],
                       1..0: q[128h+k]

        value = (d * scale) * (q - 32)
    """

    id, block, size = "q6_k", 256, 210
    heed = 0
    summary = "6-bit superblocks, 6.6 bpw (ggml)"
    fields = (
        bytewise("ql.low", 0, 128, bits=4),
        bytewise("ql.high", 0, 128, at=4, bits=4),
        *(bytewise(f"qh.{s}", 128, 64, at=2 * s, bits=2) for s in range(4)),
        Field("scales", 192 * 8, 8, 16, "int"),
        f16("d", 208),
    )

    def as_planes(self, sections: Sections) -> Planes:
        return superblocks.q6_k(sections)

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        import jax.numpy as jnp

        from qformat.schemes.numerics import hidden_zero, materialized, rounded
        from qformat_plugins.ggml import weighted
        from qformat_plugins.ggml.finish import codes_around, largest_signed
        from qformat_plugins.ggml.search import TINY, Search, grouped, nearest, signed_scale

        zero = hidden_zero(blocks)
        if weights is None:
            fit = signed_scale(Search(grouped(blocks, 16), zero), 32)
        else:
            fit = weighted.signed_scale(weighted.weighted(blocks, weights, 16, zero), 32)
        scales = fit.scale.reshape(-1, 16)
        top = largest_signed(scales)
        nothing = jnp.abs(top) < jnp.float32(TINY)
        (inverse,) = materialized(jnp.where(nothing, 0, jnp.float32(-128) / top))
        steps = rounded(inverse * scales, -128, 127)
        d = jnp.where(nothing, 0, 1 / inverse).astype(jnp.float16)
        d, steps = materialized(d, steps)

        def own() -> Any:
            inverses = jnp.repeat(fit.inverse.reshape(-1, 16), 16, axis=1)
            found = jnp.where(jnp.isnan(inverses), 0, nearest(blocks * inverses, -32, 31) + 32)
            return jnp.where(nothing, 0, found)

        codes = codes_around(blocks, own, floats(d) * floats(steps), 32)
        return {
            "ql": gathered(codes & 15, 4, 64),
            "qh": gathered(codes >> 4, 2, 32),
            "scales": steps.astype(jnp.int8),
            "d": d,
        }

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        from qformat.schemes.numerics import materialized

        (scales,) = materialized(floats(planes["d"]) * floats(planes["scales"]))
        low, high = stretches(planes["ql"], 4, 32), stretches(planes["qh"], 2, 32)
        found = []
        for j in range(8):
            half, quarter = divmod(j, 4)
            nibble = low[quarter // 2][:, 2 * half + quarter % 2]
            codes = (nibble | (high[quarter][:, half] << 4)) - 32
            found.append(floats(codes) * of_halves(scales, j))
        return stacked(found)
