"""Values from planes, for every layout in the vocabulary, in any array library.

The arithmetic is binary32 throughout, one rounding per operation, in the order written in
``specs/container.md``; numbers below 2**-126 in magnitude count as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import bits
from qformat.blocks.layout import (
    Affine,
    Codebook,
    Codes,
    Floats,
    Layout,
    Part,
    Plane,
    RawBlocks,
    ScaleMin,
    Vocabulary,
    block_size,
    planes,
    rows_cols,
)
from qformat.errors import SchemeError

Hook = Callable[[Any], Any]

_SMALLEST_NORMAL = np.float32(2.0**-126)


def _same(array: Any) -> Any:
    return array


def _flush(array: Any) -> Any:
    """Numbers below the smallest normal binary32 become zero, as XLA on CPU has them."""
    return np.where(np.abs(array) < _SMALLEST_NORMAL, np.float32(0), array)


def _entries(table: NDArray[np.float32], codes: Any) -> Any:
    xp = codes.__array_namespace__()
    return xp.asarray(table)[codes.astype(xp.int32)]


def decode_blocks(
    layout: Layout,
    items: Mapping[str, Any],
    *,
    product: Hook = _same,
    result: Hook = _same,
    look_up: Callable[[NDArray[np.float32], Any], Any] = _entries,
) -> Any:
    """Decode a batch of blocks to float32 ``[n, block]``.

    ``items`` has per plane an array ``[n, items per block]``: integers for codes, floats for
    floats. Works on NumPy and JAX arrays alike. ``product`` is called on each product that
    something is added to (a compiler that would join both into one rounding can be stopped
    there), ``result`` on all other float32 values, ``look_up`` to get entries of a table for codes.
    """
    if isinstance(layout, RawBlocks):
        raise SchemeError("raw blocks are decoded by their scheme's plugin, not by the descriptor")
    return _Decoder(items, product, result, look_up).values(layout, "")


@dataclass(frozen=True)
class _Decoder:
    items: Mapping[str, Any]
    product: Hook
    result: Hook
    look_up: Callable[[NDArray[np.float32], Any], Any]

    def values(self, node: Vocabulary, prefix: str) -> Any:
        codes = self.items[prefix + "codes"]
        xp = codes.__array_namespace__()
        n = codes.shape[0]
        codes = codes.reshape(n, codes.shape[1] // node.block, node.block)
        scale = self.part(node.scale, prefix, "scales", xp)
        match node:
            case Codebook(table=table):
                values = self.result(scale * self.look_up(self.flushed(table), codes))
            case ScaleMin(min=low):
                product = self.product(scale * codes.astype(xp.float32))
                values = self.result(product + self.part(low, prefix, "mins", xp))
            case Affine(zero_point=zero):
                steps = codes.astype(xp.float32)
                if zero is not None:
                    steps = steps - self.part(zero, prefix, "zero_points", xp)
                values = self.result(scale * steps)
        return values.reshape(n, codes.shape[1] * node.block)

    @staticmethod
    def flushed(table: tuple[float, ...]) -> NDArray[np.float32]:
        return np.asarray(_flush(np.asarray(table, np.float32)), np.float32)

    def part(self, which: Part, prefix: str, name: str, xp: Any) -> Any:
        if isinstance(which, Codes | Floats):
            return self.result(self.items[prefix + name].astype(xp.float32))[:, :, None]
        return self.values(which, f"{prefix}{name}.")[:, :, None]


def unpack_plane(plane: Plane, part: NDArray[Any], cols: int, block: int) -> NDArray[Any]:
    """Rows ``[rows, …]`` of a stored plane as items ``[rows * blocks, items per block]``, zero padded."""
    rows, blocks = part.shape[0], -(-cols // block)
    if isinstance(plane.item, RawBlocks):
        return part.reshape(rows * blocks, plane.item.size)
    count, wanted = plane.count(cols), blocks * (block // plane.span)
    if isinstance(plane.item, Codes):
        part = bits.unpack(part, plane.item.bits, count, signed=plane.item.signed)
    if count != wanted:
        padded = np.zeros((rows, wanted), part.dtype)
        padded[:, :count] = part
        part = padded
    return part.reshape(rows * blocks, -1)


def decode_rows(layout: Layout, stored: Mapping[str, NDArray[Any]], cols: int) -> NDArray[np.float32]:
    """Decode rows of stored planes to float32 ``[rows, cols]`` with NumPy alone."""
    rows = next(iter(stored.values())).shape[0]
    if rows * cols == 0:
        return np.zeros((rows, cols), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        size = block_size(layout)
        items = {p.name: unpack_plane(p, stored[p.name], cols, size) for p in planes(layout)}
        values = decode_blocks(layout, items, product=_flush, result=_flush)
    return np.asarray(values.reshape(rows, -1)[:, :cols])


def as_rows(plane_array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A plane of a tensor of ``shape``, its leading axes joined to rows."""
    rows, _ = rows_cols(shape)
    keep = plane_array.shape[len(shape[:-1]) :] or (1,)  # a plain scalar has no axis at all
    return plane_array.reshape(rows, *keep)
