"""IQ2 and IQ3: eight (or four) elements at a time as a point of a fixed lattice, with signs apart.

The lattices are tables of a few hundred points, in ``grids.npz`` beside this file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qformat.schemes import Field
from qformat_plugins.ggml.base import DecodeOnly, bytewise, f16, floats, scaled, spread


@functools.cache
def _grid(name: str) -> NDArray[np.int8]:
    with np.load(Path(__file__).with_name("grids.npz")) as grids:
        return np.asarray(grids[name])


def points_of(name: str, index: Any) -> Any:
    """Lattice points for indices ``[n, count]``, flat: ``[n, elements]``."""
    import jax.numpy as jnp

    found = jnp.asarray(_grid(name))[index.astype(jnp.int32)]
    return found.reshape(index.shape[0], -1)


def _signed(points: Any, signs: Any) -> Any:
    """Points ``[n, elements]`` with the sign bits ``[n, elements / 8]`` applied; set is negative."""
    import jax.numpy as jnp

    negative = spread(signs, 1, 1).reshape(points.shape)
    return jnp.where(negative != 0, -points, points)


def _with_parity(seven: Any) -> Any:
    """Seven sign bits and the eighth that makes their number even."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import materialized

    odd = seven ^ (seven >> 4)
    odd = odd ^ (odd >> 2)
    odd = odd ^ (odd >> 1)
    (signs,) = materialized((seven | (odd << 7)).astype(jnp.uint8))
    return signs


def words_of(data: Any, dtype: str) -> Any:
    """Bytes ``[n, m]`` as little-endian words."""
    import jax.numpy as jnp
    from jax import lax

    size = jnp.dtype(dtype).itemsize
    return lax.bitcast_convert_type(data.reshape(data.shape[0], -1, size), dtype)


def nibbles(data: Any) -> Any:
    """Bytes as nibbles, the low one first."""
    return spread(data, 4, 1).reshape(data.shape[0], -1)


class Lattice(DecodeOnly):
    """Superblocks of 256."""

    block: ClassVar[int] = 256


class IQ2_XXS(Lattice):  # noqa: N801  the names are ggml's
    """Eight groups of 32; a group is four points, four times seven signs, and a scale.

    ::

        byte  0      2                                       66
              ┌──────┬────────────────────────────────────────┐
              │ d    │ qs: 8 groups of 8 bytes                │
              └──────┴────────────────────────────────────────┘
        group:  bytes 0..3: points    bits 0..27 of the last four bytes: signs    28..31: scale

        value = d * (scale + 1/2) / 4 * point * sign;  the eighth sign of a point makes them even
    """

    id, size = "iq2_xxs", 66
    summary = "2-bit lattice, 2.1 bpw (ggml)"
    fields = (f16("d", 0), *(bytewise(f"qs.group_{g}", 2 + 8 * g, 8) for g in range(8)))

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized

        groups = planes["qs"].reshape(-1, 8, 8)
        words = words_of(groups[:, :, 4:].reshape(-1, 32), "uint32")
        seven = (words[:, :, None] >> jnp.arange(0, 28, 7, dtype=jnp.uint32)) & 127
        signs = _with_parity(seven.reshape(-1, 32))
        scale = floats(planes["d"]) * (floats(words >> 28) + jnp.float32(0.5)) * jnp.float32(0.25)
        (scale,) = materialized(scale)
        points = points_of("iq2_xxs", groups[:, :, :4].reshape(-1, 32))
        return scaled(_signed(points, signs), scale)


class IQ2_XS(Lattice):  # noqa: N801
    """Points of a larger lattice with seven signs, and a scale for every 16.

    ::

        byte  0      2                                 66            74
              ┌──────┬──────────────────────────────────┬─────────────┐
              │ d    │ qs: 32 words of 16 bits          │ scales[8]   │
              └──────┴──────────────────────────────────┴─────────────┘
        word:       15..9: signs   8..0: point         scales: low nibble first

        value = d * (scale + 1/2) / 4 * point * sign
    """

    id, size = "iq2_xs", 74
    summary = "2-bit lattice, 2.3 bpw (ggml)"
    fields = (
        f16("d", 0),
        Field("qs.point", 16, 9, 32, step=16),
        Field("qs.signs", 25, 7, 32, step=16),
        Field("scales", 528, 4, 16),
    )

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        words = words_of(planes["qs"], "uint16")
        points = points_of("iq2_xs", words & 511)
        return scaled(_signed(points, _with_parity(words >> 9)), _quarters(planes))


class IQ2_S(Lattice):  # noqa: N801
    """Ten-bit points and all eight signs.

    ::

        byte  0      2              34              66         74            82
              ┌──────┬──────────────┬───────────────┬──────────┬─────────────┐
              │ d    │ qs[32]       │ signs[32]     │ qh[8]    │ scales[8]   │
              └──────┴──────────────┴───────────────┴──────────┴─────────────┘
        qh[i]       two high bits of each of the points 4i … 4i+3, lowest first
    """

    id, size = "iq2_s", 82
    summary = "2-bit lattice, 2.6 bpw (ggml)"
    fields = (
        f16("d", 0),
        bytewise("qs", 2, 32),
        bytewise("signs", 34, 32),
        Field("qh", 528, 2, 32),
        Field("scales", 592, 4, 16),
    )

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        high = spread(planes["qh"], 2, 1).reshape(-1, 32).astype(jnp.int32)
        points = points_of("iq2_s", planes["qs"].astype(jnp.int32) | (high << 8))
        return scaled(_signed(points, planes["signs"]), _quarters(planes))


def _quarters(planes: Mapping[str, Any]) -> Any:
    """Scales d * (scale + 1/2) / 4 for every 16 elements."""
    import jax.numpy as jnp

    from qformat.schemes.numerics import materialized

    steps = floats(nibbles(planes["scales"])) + jnp.float32(0.5)
    (found,) = materialized(floats(planes["d"]) * steps * jnp.float32(0.25))
    return found


class IQ3_XXS(Lattice):  # noqa: N801
    """Points of four elements; signs and scale of 32 elements in one word.

    ::

        byte  0      2                       66                          98
              ┌──────┬───────────────────────┬────────────────────────────┐
              │ d    │ qs[64]: points        │ signs: 8 words of 32 bits  │
              └──────┴───────────────────────┴────────────────────────────┘
        word:        31..28: scale    27..0: four times seven signs

        value = d * (scale + 1/2) / 2 * point * sign
    """

    id, size = "iq3_xxs", 98
    summary = "3-bit lattice, 3.1 bpw (ggml)"
    fields = (
        f16("d", 0),
        bytewise("qs", 2, 64),
        *(Field(f"signs.part_{i}", 528 + 7 * i, 7, 8, step=32) for i in range(4)),
        Field("signs.scale", 556, 4, 8, step=32),
    )

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized

        words = words_of(planes["signs"], "uint32")
        seven = (words[:, :, None] >> jnp.arange(0, 28, 7, dtype=jnp.uint32)) & 127
        signs = _with_parity(seven.reshape(-1, 32))
        scale = floats(planes["d"]) * (floats(words >> 28) + jnp.float32(0.5)) * jnp.float32(0.5)
        (scale,) = materialized(scale)
        return scaled(_signed(points_of("iq3_xxs", planes["qs"]), signs), scale)


class IQ3_S(Lattice):  # noqa: N801
    """Nine-bit points of four elements and all eight signs.

    ::

        byte  0      2               66         74               106           110
              ┌──────┬───────────────┬──────────┬────────────────┬─────────────┐
              │ d    │ qs[64]        │ qh[8]    │ signs[32]      │ scales[4]   │
              └──────┴───────────────┴──────────┴────────────────┴─────────────┘
        qh            bit i: ninth bit of point i

        value = d * (1 + 2 * scale) * point * sign
    """

    id, size = "iq3_s", 110
    summary = "3-bit lattice, 3.4 bpw (ggml)"
    fields = (
        f16("d", 0),
        bytewise("qs", 2, 64),
        Field("qh", 528, 1, 64),
        bytewise("signs", 74, 32),
        Field("scales", 848, 4, 8),
    )

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        del product
        import jax.numpy as jnp

        from qformat.schemes.numerics import materialized

        ninth = spread(planes["qh"], 1, 1).reshape(-1, 64).astype(jnp.int32)
        points = points_of("iq3_s", planes["qs"].astype(jnp.int32) | (ninth << 8))
        (scale,) = materialized(floats(planes["d"]) * floats(1 + 2 * nibbles(planes["scales"])))
        return scaled(_signed(points, planes["signs"]), scale)
