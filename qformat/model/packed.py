"""Matrices that stay quantized in memory and are decoded inside the product with one row.

What belongs to one input lies side by side for all outputs, so that the product is made of long loops over
neighbours in memory, which is the form that XLA's CPU backend makes fast. Codes are unsigned and fill
words, the first input's in the lowest bits::

    words    [inputs · bits / 32, outputs]  uint32
    scales   [blocks, outputs]              as the file has them
    zeros    [blocks, outputs]              zero points, or none
    mins     [blocks, outputs]              or none

Inside a word a code c is a few bits. Put at the top of the mantissa of 1.0 they are the float
1 + c / 2**bits: a shift, a mask and no conversion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from qformat.blocks import bits as packing
from qformat.blocks.equivalent import from_records
from qformat.blocks.layout import Affine, Codes, Floats, Layout, RawBlocks, ScaleMin, Vocabulary, planes
from qformat.model.layout import Order
from qformat.schemes.coder import plane_rows
from qformat.schemes.registry import registry
from qformat.schemes.scratch import aligned
from qformat.views.source import TensorSource

MANTISSA = 23  # bits of a float32
ONE = 0x3F800000  # 1.0
STEP = 128  # inputs between two readings of the sums
LANES = 4  # sums that grow beside each other: an addition waits for the one before


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Packed:
    """A matrix ``[outputs, inputs]`` of scale · (code − offset − zero point) + min."""

    words: Any
    scales: Any
    zeros: Any
    mins: Any
    bits: int = field(metadata={"static": True})
    offset: int = field(metadata={"static": True})

    @property
    def form(self) -> tuple[Any, ...]:
        """What matrices must have in common to be joined."""
        kinds = [None if a is None else (len(a), a.dtype) for a in self._arrays]
        return *kinds, self.bits, self.offset

    @property
    def nbytes(self) -> int:
        return sum(int(a.nbytes) for a in self._arrays if a is not None)

    @property
    def _arrays(self) -> tuple[Any, ...]:
        return self.words, self.scales, self.zeros, self.mins


def times(row: Any, weight: Packed) -> Any:
    """A row ``[inputs]`` times the matrix: float32 ``[outputs]``."""
    blocks, outputs = weight.scales.shape
    together = math.gcd(blocks, max(1, STEP * blocks // row.size))
    x = row.reshape(blocks // together, together, -1)
    sums = jnp.sum(x, axis=2)

    def step(n: Any, total: Any) -> Any:
        here, sums_here = _at(x, n), _at(sums, n)
        for i in range(together):
            total += _block(weight, n * together + i, here[i], sums_here[i])
        return total

    start = jnp.zeros(outputs, jnp.float32)
    return lax.fori_loop(0, len(x), step, start) * (1 << weight.bits)


def _block(weight: Packed, block: Any, x: Any, total: Any) -> Any:
    """What one block of inputs adds to all outputs, divided by 2**bits."""
    held = len(weight.words) // len(weight.scales)
    codes = [c for i in range(held) for c in _floats(_at(weight.words, block * held + i), weight.bits)]
    lanes = [codes[i] * x[i] for i in range(LANES)]
    for i, code in enumerate(codes[LANES:]):
        lanes[i % LANES] += code * x[LANES + i]
    found = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
    total = total / (1 << weight.bits)
    zero = jnp.float32(weight.offset + (1 << weight.bits))
    if weight.zeros is not None:
        zero = zero + _at(weight.zeros, block).astype(jnp.float32)
    found = (found - zero * total) * _at(weight.scales, block).astype(jnp.float32)
    return found if weight.mins is None else found + total * _at(weight.mins, block).astype(jnp.float32)


def _floats(word: Any, bits: int) -> list[Any]:
    """1 + code / 2**bits for each code of the words."""
    top = MANTISSA - bits
    mask = jnp.uint32(((1 << bits) - 1) << top)
    shifts = range(top, top - 32, -bits)
    moved = [word << shift if shift >= 0 else word >> -shift for shift in shifts]
    return [lax.bitcast_convert_type(m & mask | jnp.uint32(ONE), jnp.float32) for m in moved]


def _at(array: Any, index: Any) -> Any:
    """A row, taken on its own: XLA makes a slow call of rows that are cut from one slice."""
    return lax.dynamic_index_in_dim(array, index, keepdims=False)


def joined(parts: list[Packed]) -> Packed:
    """Matrices with the same inputs as one, their outputs one after the other."""
    first = parts[0]
    words, scales, zeros, mins = (
        None if arrays[0] is None else _beside(arrays)
        for arrays in zip(*((p.words, p.scales, p.zeros, p.mins) for p in parts), strict=True)
    )
    return Packed(words, scales, zeros, mins, first.bits, first.offset)


def _beside(arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0]
    out = aligned((len(arrays[0]), sum(a.shape[1] for a in arrays)), arrays[0].dtype)
    return np.concatenate(arrays, axis=1, out=out)


def packed(source: TensorSource, order: Order | None) -> Packed | None:
    """A quantized matrix with its codes as they are; None if it is not of such a form."""
    found = _planes(source)
    if found is None:
        return None
    layout, stored = found
    if order is not None:
        stored = {name: array[order] for name, array in stored.items()}
    bits = next(b for b in (2, 4, 8) if b >= layout.codes.bits)
    offset = 1 << (layout.codes.bits - 1) if layout.codes.signed else 0
    words = _words(layout, stored["codes"], source.cols, bits, offset)
    zeros = _zeros(layout, stored, source.cols)
    mins = stored.get("mins")
    return Packed(_turned(words), _turned(stored["scales"]), _turned(zeros), _turned(mins), bits, offset)


def _turned(rows: NDArray[Any] | None) -> Any:
    if rows is None:
        return None
    out = aligned(rows.shape[::-1], rows.dtype)
    out[:] = rows.T
    return out


def _words(
    layout: Affine | ScaleMin, codes: NDArray[Any], cols: int, bits: int, offset: int
) -> NDArray[np.uint32]:
    """Rows of codes as rows of words; a signed code turns unsigned where its highest bit is flipped."""
    if layout.codes.bits != bits:
        opened = packing.unpack(codes, layout.codes.bits, cols, signed=layout.codes.signed)
        codes = packing.pack(opened.astype(np.int16) + offset, bits)
        offset = 0
    words = np.ascontiguousarray(codes).view("<u4")
    return words ^ np.uint32(sum(offset << shift for shift in range(0, 32, bits)))


def _planes(source: TensorSource) -> tuple[Affine | ScaleMin, dict[str, NDArray[Any]]] | None:
    """The planes of a matrix as rows, of raw blocks those that mean the same."""
    record = source.info.scheme
    if record is None:
        return None
    layout: Layout | None = record.layout
    stored = {name: source.stored_rows(name, 0, source.rows) for name in source.plane_names}
    if isinstance(layout, RawBlocks):
        scheme = registry().for_record(record)
        same, raw = scheme.equivalent(), scheme.layout()
        if same is None or not isinstance(raw, RawBlocks):
            return None
        layout = same.layout
        data = from_records(same, raw, layout, stored["blocks"])
        stored = {p.name: plane_rows(p, data[p.name], source.rows, source.cols) for p in planes(layout)}
    return (layout, stored) if _is_linear(layout, source.cols) else None  # type: ignore[return-value]


def _is_linear(layout: Vocabulary | None, cols: int) -> bool:
    """Whether whole blocks of whole words make up a row, and scales and minima are plain numbers."""
    if not isinstance(layout, Affine | ScaleMin) or cols % layout.block or layout.block % 16:
        return False
    floats = [layout.scale, layout.min] if isinstance(layout, ScaleMin) else [layout.scale]
    zero = layout.zero_point if isinstance(layout, Affine) else None
    return all(isinstance(part, Floats) for part in floats) and not isinstance(zero, Vocabulary)


def _zeros(layout: Affine | ScaleMin, stored: dict[str, NDArray[Any]], cols: int) -> Any:
    """Zero points ``[rows, blocks]``, or None."""
    zeros = stored.get("zero_points")
    if zeros is not None and isinstance(layout, Affine) and isinstance(kind := layout.zero_point, Codes):
        zeros = packing.unpack(zeros, kind.bits, cols // layout.block, signed=kind.signed)
    return zeros
