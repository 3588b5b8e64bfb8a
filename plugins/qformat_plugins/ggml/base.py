"""What ggml's block types share: raw records, two-byte scales, bits spread over rows of bytes.

ggml is the reference: encoders give the bits that its scalar C code gives, with importance weights and
without, compiled without contraction of a * b + c. Numbers below 2**-126 count as zero here, so
blocks of nothing but numbers about that small may differ in codes whose scale is zero anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qformat.errors import SchemeError
from qformat.schemes import Field, RawBlocks, Scheme


@dataclass(frozen=True)
class Ggml(Scheme):
    """One of ggml's types: records of ``size`` bytes for ``block`` elements."""

    block: ClassVar[int]
    size: ClassVar[int]
    fields: ClassVar[tuple[Field, ...]] = ()

    def layout(self) -> RawBlocks:
        return RawBlocks(self.size, self.block, self.fields)

    def sensitive(self) -> str:
        return self.spec() if self.bpw >= 8 else "q8_0"

    def fallback(self) -> str:
        from qformat_plugins.ggml.mixtures import FALLBACK

        return FALLBACK.get(self.id, "f16")


@dataclass(frozen=True)
class WeightedRows(Ggml):
    """A type whose search, where importances are given, looks at the mean square of whole rows."""

    weighted: ClassVar[bool] = True
    whole_rows: ClassVar[bool] = True

    def element_weights(
        self, values: NDArray[np.float32], importance: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        from qformat_plugins.ggml.weighted import element_weights

        return element_weights(values, importance, None)


@dataclass(frozen=True)
class WeightedBlocks(Ggml):
    """A type whose search, where importances are given, looks at ``heed`` times a block's mean square."""

    weighted: ClassVar[bool] = True
    heed: ClassVar[int] = 1

    def element_weights(
        self, values: NDArray[np.float32], importance: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        from qformat_plugins.ggml.weighted import element_weights

        return element_weights(values, importance, self.block, self.heed) if self.heed else importance


@dataclass(frozen=True)
class DecodeOnly(Ggml):
    """A type that needs ggml's own search and importance weights to be encoded well."""

    encodes: ClassVar[bool] = False

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        raise SchemeError(f"{self.id} can be decoded but not encoded", hint="choose another scheme")


def f16(name: str, byte: int) -> Field:
    """A two-byte float at a byte of the record."""
    return Field(name, byte * 8, 16, kind="F16")


def bytewise(name: str, byte: int, count: int, *, at: int = 0, bits: int = 8) -> Field:
    """The same ``bits`` of ``count`` bytes in a row, from bit ``at`` of each."""
    return Field(name, byte * 8 + at, bits, count, step=8 if bits < 8 else 0)


def spread(data: Any, bits: int, span: int) -> Any:
    """Codes that lie ``bits`` wide beside each other in rows of ``span`` bytes, as uint8.

    Byte ``k`` of a row holds elements ``k``, ``k + span``, … of its stretch, lowest bits first:
    ``[n, rows * span]`` bytes become ``[n, rows, 8 / bits, span]`` codes.
    """
    import jax.numpy as jnp

    from qformat.schemes.numerics import materialized

    parts = [part.astype(jnp.uint8) for part in stretches(data, bits, span)]
    return materialized(jnp.stack(parts, axis=2))[0]


def nibbles(data: Any) -> Any:
    """`spread` for rows of nibbles: ``[n, span]`` bytes, all low halves and then all high ones.

    Padded on both sides the bytes are rows of the result's length, of which XLA makes one vector loop with
    whatever comes next; a concatenation would branch at each element.
    """
    import jax.numpy as jnp
    from jax import lax

    n, span = data.shape
    places = lax.broadcasted_iota(jnp.int32, (n, 2 * span), 1)
    low, high = jnp.pad(data, ((0, 0), (0, span))), jnp.pad(data, ((0, 0), (span, 0)))
    return jnp.where(places < span, low & 15, high >> 4)


def stretches(data: Any, bits: int, span: int) -> list[Any]:
    """The codes of `spread`, each place in a byte on its own: ``8 / bits`` times int32 ``[n, rows, span]``.

    A loop with one shift for all elements is much faster than one whose shifts vary.
    """
    import jax.numpy as jnp

    rows = data.reshape(data.shape[0], -1, span).astype(jnp.int32)
    return [(rows >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]


def gathered(codes: Any, bits: int, span: int) -> Any:
    """The reverse of `spread`: codes ``[n, elements]`` to bytes ``[n, elements * bits / 8]``."""
    import jax.numpy as jnp

    n = codes.shape[0]
    rows = codes.astype(jnp.uint8).reshape(n, -1, 8 // bits, span)
    data = rows[:, :, 0]
    for i in range(1, 8 // bits):
        data = data | (rows[:, :, i] << jnp.uint8(i * bits))
    return data.reshape(n, -1)


def scaled(codes: Any, scales: Any) -> Any:
    """Codes ``[n, elements]`` times one scale ``[n, groups]`` per group, flat again."""
    import jax.numpy as jnp

    n, groups = scales.shape
    return (codes.reshape(n, groups, -1).astype(jnp.float32) * scales[:, :, None]).reshape(n, -1)


def floats(halves: Any) -> Any:
    """Two-byte floats as float32."""
    import jax.numpy as jnp

    return halves.astype(jnp.float32)


def of_halves(groups: Any, j: int) -> Any:
    """Of numbers ``[n, 16]``, one for 16 elements, those of elements 32j … 32j + 31: ``[n, 32]``."""
    import jax.numpy as jnp
    from jax import lax

    places = lax.broadcasted_iota(jnp.int32, (groups.shape[0], 32), 1)
    return jnp.where(places < 16, groups[:, 2 * j : 2 * j + 1], groups[:, 2 * j + 1 : 2 * j + 2])


def stacked(parts: list[Any]) -> Any:
    """Parts ``[n, 32]`` of superblocks side by side: ``[n, 256]``."""
    import jax.numpy as jnp

    return jnp.stack(parts, axis=1).reshape(-1, 256)
