"""Matrices that stay quantized in memory and are decoded inside the product with one row.

What belongs to one input lies side by side for all outputs, so that the product is made of long loops over
neighbours in memory, which is the form that XLA's CPU backend makes fast. Codes are unsigned and fill
words, the first input's in the lowest bits::

    words    [inputs · bits / 32, outputs]  uint32
    scales   [blocks, outputs]              as the file has them; if they are coded themselves,
    steps    [superblocks, outputs]         what these are multiples of, or none
    zeros    [blocks, outputs]              zero points, or none
    mins     [blocks, outputs]              minima, or none
    drops    [superblocks, outputs]         what these are multiples of, or none

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
from qformat.blocks.layout import (
    Affine,
    Codes,
    Floats,
    Layout,
    Leaf,
    Part,
    RawBlocks,
    ScaleMin,
    Vocabulary,
    block_size,
    planes,
)
from qformat.model.layout import Order
from qformat.schemes.coder import plane_rows
from qformat.schemes.records import Record
from qformat.schemes.registry import registry
from qformat.schemes.scheme import Scheme
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
    steps: Any
    zeros: Any
    mins: Any
    drops: Any
    bits: int = field(metadata={"static": True})
    offset: int = field(metadata={"static": True})

    @property
    def arrays(self) -> tuple[Any, ...]:
        return self.words, self.scales, self.steps, self.zeros, self.mins, self.drops

    @property
    def form(self) -> tuple[Any, ...]:
        """What matrices must have in common to be joined."""
        kinds = [None if a is None else (len(a), a.dtype) for a in self.arrays]
        return *kinds, self.bits, self.offset

    @property
    def nbytes(self) -> int:
        return sum(int(a.nbytes) for a in self.arrays if a is not None)


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
        zero = zero + _numbers(weight.zeros, None, block)
    found = (found - zero * total) * _numbers(weight.scales, weight.steps, block)
    return found if weight.mins is None else found + total * _numbers(weight.mins, weight.drops, block)


def _numbers(values: Any, units: Any, block: Any) -> Any:
    """A block's scales, zero points or minima, in float32."""
    found = _at(values, block).astype(jnp.float32)
    if units is None:
        return found
    return found * _at(units, block // (len(values) // len(units))).astype(jnp.float32)


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
    every = zip(*(p.arrays for p in parts), strict=True)
    joint = (None if arrays[0] is None else _beside(arrays) for arrays in every)
    return Packed(*joint, bits=first.bits, offset=first.offset)  # type: ignore[misc, arg-type]


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
    blocks = source.cols // layout.block
    return Packed(
        words=_turned(_words(layout, stored["codes"], source.cols, bits, offset)),
        scales=_turned(_opened(layout.scale, stored, "scales", blocks)),
        steps=_turned(stored.get("scales.scales")),
        zeros=_turned(_opened(getattr(layout, "zero_point", None), stored, "zero_points", blocks)),
        mins=_turned(_opened(getattr(layout, "min", None), stored, "mins", blocks)),
        drops=_turned(stored.get("mins.scales")),
        bits=bits,
        offset=offset,
    )


def _opened(part: Part | None, stored: dict[str, NDArray[Any]], name: str, blocks: int) -> Any:
    """A block's scales, zero points or minima ``[rows, blocks]``: numbers, or the codes of them."""
    if part is None:
        return None
    codes = part if isinstance(part, Codes) else getattr(part, "codes", None)
    data = stored[name if isinstance(part, Codes | Floats) else f"{name}.codes"]
    return data if codes is None else packing.unpack(data, codes.bits, blocks, signed=codes.signed)


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
        same = _same_planes(registry().for_record(record), stored["blocks"])
        if same is None:
            return None
        layout, data = same
        stored = {p.name: plane_rows(p, data[p.name], source.rows, source.cols) for p in planes(layout)}
    return (layout, stored) if _is_linear(layout, source.cols) else None  # type: ignore[return-value]


def _same_planes(
    scheme: Scheme, records: NDArray[np.uint8]
) -> tuple[Vocabulary, dict[str, NDArray[np.uint8]]] | None:
    """A layout that means the same as a scheme's raw blocks, and each plane's bytes."""
    raw, same = scheme.layout(), scheme.equivalent()
    assert isinstance(raw, RawBlocks)
    if same is not None:
        return same.layout, from_records(same, raw, same.layout, records)
    found = scheme.as_planes(Record(raw).opened(records.reshape(-1, raw.size)))
    if found is None:
        return None
    layout, items = found
    return layout, {p.name: _bytes(p.item, items[p.name]) for p in planes(layout)}


def _bytes(kind: Leaf, items: NDArray[Any]) -> NDArray[np.uint8]:
    """Items as a plane's bytes; those of a superblock fill whole bytes."""
    if isinstance(kind, Codes):
        return packing.pack(items, kind.bits).reshape(-1)
    return np.ascontiguousarray(items).view(np.uint8).reshape(-1)


def _is_linear(layout: Vocabulary | None, cols: int) -> bool:
    """Whether whole blocks of whole words make up a row, and scales and minima are numbers or multiples."""
    if not isinstance(layout, Affine | ScaleMin) or cols % block_size(layout) or layout.block % 16:
        return False
    if isinstance(layout, ScaleMin):
        return _is_plain(layout.scale) and _is_plain(layout.min)
    return _is_plain(layout.scale) and not isinstance(layout.zero_point, Vocabulary)


def _is_plain(part: Part) -> bool:
    """Whether these are numbers, or codes times numbers."""
    if isinstance(part, Affine):
        return part.zero_point is None and isinstance(part.scale, Floats)
    return isinstance(part, Floats)
