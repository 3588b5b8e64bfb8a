"""TQ1_0 and TQ2_0: codes -1, 0 and 1 with one scale for 256 elements, for models trained so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from qformat.schemes import Field
from qformat_plugins.ggml.base import Ggml, bytewise, f16, floats, gathered, scaled, spread, stacked


class Ternary(Ggml):
    """The scale is the largest magnitude."""

    block: ClassVar[int] = 256

    def trits(self, blocks: Any) -> tuple[Any, Any]:
        """Scale ``[n, 1]`` and codes 0, 1, 2 ``[n, 256]``."""
        import jax.numpy as jnp

        from qformat.schemes.numerics import largest_magnitude, materialized, rounded_away

        scale = largest_magnitude(blocks)
        scale, inverse = materialized(scale, jnp.where(scale != 0, 1 / scale, 0))
        return scale, rounded_away(blocks * inverse, -1, 1) + 1


class TQ1_0(Ternary):  # noqa: N801  the names are ggml's
    """Five codes to a byte.

    ::

        byte  0                                 48        52
              ┌─────────────────────────────────┬─────────┬──────┐
              │ qs[48]                          │ qh[4]   │ d    │  value = d * (q - 1)
              └─────────────────────────────────┴─────────┴──────┘
        qs[k], k < 32     q[k], q[32+k], … q[128+k]
        qs[32+k]          q[160+k], q[176+k], … q[224+k]
        qh[k]             q[240+k], q[244+k], q[248+k], q[252+k], 0

    A byte is the fraction q0/3 + q1/9 + … + q4/243 in units of 1/256, rounded up: times three,
    its integer part is the next code.
    """

    id, size = "tq1_0", 54
    summary = "ternary, five codes to a byte, 1.7 bpw (ggml)"
    fields = (Field("qs", 0, 8, 48), Field("qh", 48 * 8, 8, 4), f16("d", 52))

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides
        import jax.numpy as jnp

        scale, codes = self.trits(blocks)
        first = _digits(codes[:, :160].reshape(-1, 5, 32))
        second = _digits(codes[:, 160:240].reshape(-1, 5, 16))
        last = _digits(jnp.pad(codes[:, 240:].reshape(-1, 4, 4), ((0, 0), (0, 1), (0, 0))))
        return {"qs": jnp.concatenate([first, second], axis=1), "qh": last, "d": scale}

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized

        data, scale = planes["qs"], floats(planes["d"])
        codes = _trits(data[:, :32], 5)
        short = [*_trits(data[:, 32:], 5), *_trits(planes["qh"], 4)]
        (rest,) = materialized(jnp.concatenate(short, axis=1).astype(jnp.uint8))
        codes += [rest[:, i : i + 32].astype(jnp.int32) for i in (0, 32, 64)]
        return stacked([floats(each - 1) * scale for each in codes])


class TQ2_0(Ternary):  # noqa: N801
    """Two bits to a code.

    ::

        byte  0                                              64
              ┌───────────────────────────────────────────────┬──────┐
              │ qs[64]                                        │ d    │  value = d * (q - 1)
              └───────────────────────────────────────────────┴──────┘
        qs[32h + k]    7..6: q[128h+96+k]  5..4: q[128h+64+k]  3..2: q[128h+32+k]  1..0: q[128h+k]
    """

    id, size = "tq2_0", 66
    summary = "ternary, two bits to a code, 2.1 bpw (ggml)"
    fields = (*(bytewise(f"qs.{s}", 0, 64, at=2 * s, bits=2) for s in range(4)), f16("d", 64))

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        del weights  # the largest value decides
        from qformat_plugins.ggml.finish import as_bytes

        scale, codes = self.trits(blocks)
        return {"qs": gathered(as_bytes(codes), 2, 32), "d": scale}

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        codes = spread(planes["qs"], 2, 32).reshape(-1, 256)
        return scaled(codes.astype(jnp.int8) - jnp.int8(1), floats(planes["d"]))


def _digits(codes: Any) -> Any:
    """Five codes ``[n, 5, span]`` as bytes ``[n, span]``."""
    import jax.numpy as jnp

    value = codes[:, 0]
    for i in range(1, 5):
        value = value * 3 + codes[:, i]
    # (value * 256 + 242) // 243, without a division: 243 * 69043 is 2**24 + 233
    return ((value * 256 + 242).astype(jnp.uint32) * jnp.uint32(69043) >> 24).astype(jnp.uint8)


def _trits(data: Any, count: int) -> list[Any]:
    """The first ``count`` codes of each byte ``[n, span]``, int32: one code of all bytes after another."""
    whole = data.astype("int32")
    return [(whole * 3**i & 255) * 3 >> 8 for i in range(count)]
