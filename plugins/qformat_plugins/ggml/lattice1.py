"""IQ1_S and IQ1_M: eight elements at a time as a point of -1, 0, 1, moved up or down by an eighth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qformat.schemes import Field
from qformat_plugins.ggml.base import bytewise, f16, floats, scaled
from qformat_plugins.ggml.lattice import Lattice, nibbles, points_of, words_of


class IQ1_S(Lattice):  # noqa: N801
    """Points of -1, 0, 1, moved up or down by an eighth.

    ::

        byte  0      2               34                    50
              ┌──────┬───────────────┬──────────────────────┐
              │ d    │ qs[32]        │ qh: 8 words of 16    │
              └──────┴───────────────┴──────────────────────┘
        word i:    15: down or up   14..12: scale   11..0: three high bits of points 4i … 4i+3

        value = d * (2 * scale + 1) * (point + 1/8 or - 1/8)
    """

    id, size = "iq1_s", 50
    summary = "1-bit lattice, 1.6 bpw (ggml)"
    fields = (
        f16("d", 0),
        bytewise("qs", 2, 32),
        *(Field(f"qh.point_{i}", 272 + 3 * i, 3, 8, step=16) for i in range(4)),
        Field("qh.scale", 284, 3, 8, step=16),
        Field("qh.down", 287, 1, 8, step=16),
    )

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized

        words = words_of(planes["qh"], "uint16").astype(jnp.int32)
        high = ((words[:, :, None] >> jnp.arange(0, 12, 3)) & 7).reshape(-1, 32)
        points = points_of("iq1_s", planes["qs"].astype(jnp.int32) | (high << 8))
        scale = floats(planes["d"]) * floats(2 * (words >> 12 & 7) + 1)
        (scale, down) = materialized(scale, words >> 15)
        return scaled(_moved(points, down), scale)


class IQ1_M(Lattice):  # noqa: N801
    """As IQ1_S with a scale for every 16 and a direction for every 8.

    ::

        byte  0               32              48                   56
              ┌───────────────┬───────────────┬─────────────────────┐
              │ qs[32]        │ qh[16]        │ scales: 4 words     │
              └───────────────┴───────────────┴─────────────────────┘
        qh nibble i:   3: down or up   2..0: high bits of point i
        word i:        15..12: bits 4i+3..4i of d (a two-byte float)   11..0: scales 4i … 4i+3
    """

    id, size = "iq1_m", 56
    summary = "1-bit lattice, 1.8 bpw (ggml)"
    fields = (
        bytewise("qs", 0, 32),
        Field("qh.point", 256, 3, 32, step=4),
        Field("qh.down", 259, 1, 32, step=4),
        *(Field(f"scales.scale_{i}", 384 + 3 * i, 3, 4, step=16) for i in range(4)),
        Field("scales.d", 396, 4, 4, step=16),
    )

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp
        from jax import lax

        from qformat.schemes.numerics import materialized

        words = words_of(planes["scales"], "uint16").astype(jnp.int32)
        whole = sum((words[:, i : i + 1] >> 12) << (4 * i) for i in range(4))
        d = floats(lax.bitcast_convert_type(jnp.asarray(whole).astype(jnp.uint16), jnp.float16))
        steps = ((words[:, :, None] >> jnp.arange(0, 12, 3)) & 7).reshape(-1, 16)
        codes = nibbles(planes["qh"]).astype(jnp.int32)
        points = points_of("iq1_s", planes["qs"].astype(jnp.int32) | ((codes & 7) << 8))
        scale, down = materialized(d * floats(2 * steps + 1), codes >> 3)
        return scaled(_moved(points, down), scale)


def _moved(points: Any, down: Any) -> Any:
    """Points ``[n, elements]`` plus 1/8, or minus where ``down`` ``[n, groups]`` is set."""
    import jax.numpy as jnp

    n, groups = down.shape
    step = jnp.where(down != 0, jnp.float32(-0.125), jnp.float32(0.125))
    return (floats(points).reshape(n, groups, -1) + step[:, :, None]).reshape(n, -1)
