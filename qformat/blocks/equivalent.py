"""Raw blocks that mean the same as planes: re-packed into each other without quantizing again.

A block of Q4_0, for instance, has the scale and the codes of a 4-bit symmetric block, in other places::

    planes   scales  d₀ d₁ …        codes  q₀ q₁ q₂ …   signed, -8 … 7
    records  d₀ (q₁₆+8, q₀+8) (q₁₇+8, q₁+8) …   d₁ …

Both decode by the same two operations on the same two numbers, so they decode to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import bits
from qformat.blocks.layout import Codebook, Field, Floats, Layout, RawBlocks, ScaleMin, Vocabulary, planes


@dataclass(frozen=True)
class Equivalent:
    """The layout that raw blocks are another form of, and which of their fields hold its items.

    ``codes`` has the fields of a code's lowest bits, whose items one after another are the block's
    codes, then those of the next bits. ``flip`` are the bits in which a code differs: 8 turns the
    two's complement of -8 … 7 into 0 … 15.
    """

    layout: Vocabulary
    codes: tuple[tuple[str, ...], ...]
    scale: str = "d"
    min: str = "m"
    flip: int = 0

    def holds(self, layout: Layout) -> bool:
        """Whether the raw blocks can say what planes of a layout say: with wider codes, or smaller blocks."""
        own = self.layout
        return (
            type(layout) is type(own)
            and self._has_floats_of(layout)
            and layout.block % own.block == 0
            and layout.codes.signed == own.codes.signed
            and (
                layout.codes.bits <= own.codes.bits
                if not isinstance(own, Codebook)
                else self._has_table_of(layout)
            )
        )

    def fits(self, layout: Layout) -> bool:
        """Whether planes of a layout can say what the raw blocks say."""
        own = self.layout
        return (
            type(layout) is type(own)
            and self._has_floats_of(layout)
            and layout.block == own.block
            and layout.codes.signed == own.codes.signed
            and (
                layout.codes.bits >= own.codes.bits
                if not isinstance(own, Codebook)
                else self._has_table_of(layout)
            )
        )

    def _has_floats_of(self, layout: Layout) -> bool:
        own = self.layout
        parts = [getattr(x, part, None) for part in ("scale", "zero_point", "min") for x in (layout, own)]
        return parts[0::2] == parts[1::2] and isinstance(own.scale, Floats)

    def _has_table_of(self, layout: Layout) -> bool:
        own = self.layout
        assert isinstance(own, Codebook)
        return isinstance(layout, Codebook) and layout.table == own.table and layout.codes == own.codes


def to_records(
    same: Equivalent, raw: RawBlocks, layout: Vocabulary, stored: Mapping[str, NDArray[Any]], cols: int
) -> NDArray[np.uint8]:
    """Rows of planes as rows of records ``[rows, cols / raw.block, raw.size]``."""
    rows = stored["codes"].shape[0]
    out = np.zeros((rows * (cols // raw.block), raw.size), np.uint8)
    codes = bits.unpack(stored["codes"], layout.codes.bits, cols, signed=layout.codes.signed).view(np.uint8)
    codes = codes.reshape(-1, raw.block) ^ np.uint8(same.flip)
    fields = {f.name: f for f in raw.fields}
    shift = 0
    for names in same.codes:
        at = 0
        for field in (fields[name] for name in names):
            _put(out, field, codes[:, at : at + field.count] >> np.uint8(shift))
            at += field.count
        shift += fields[names[0]].bits
    for plane, name in _floats_of(same).items():
        numbers = np.repeat(stored[plane], layout.block // raw.block, axis=1)[:, : cols // raw.block]
        _put(out, fields[name], np.ascontiguousarray(numbers).reshape(-1, 1).view(np.uint8))
    return out.reshape(rows, -1, raw.size)


def from_records(
    same: Equivalent, raw: RawBlocks, layout: Vocabulary, records: NDArray[np.uint8]
) -> dict[str, NDArray[np.uint8]]:
    """Rows of records ``[rows, blocks, raw.size]`` as each plane's bytes, one row after another."""
    rows = records.shape[0]
    flat = np.ascontiguousarray(records).reshape(-1, raw.size)
    fields = {f.name: f for f in raw.fields}
    codes: NDArray[np.uint8] = np.zeros((flat.shape[0], raw.block), np.uint8)
    shift = 0
    for names in same.codes:
        codes |= np.concatenate([_take(flat, fields[name]) for name in names], axis=1) << np.uint8(shift)
        shift += fields[names[0]].bits
    codes ^= np.uint8(same.flip)
    if layout.codes.signed:
        sign = np.uint8(1 << same.layout.codes.bits - 1)
        codes = (codes ^ sign) - sign
    found = {"codes": bits.pack(codes.reshape(rows, -1), layout.codes.bits).reshape(-1)}
    for plane, name in _floats_of(same).items():
        found[plane] = _take(flat, fields[name]).reshape(-1)
    return {p.name: found[p.name] for p in planes(layout)}


def _floats_of(same: Equivalent) -> dict[str, str]:
    """The planes of floats with the field that holds each."""
    return {"scales": same.scale} | ({"mins": same.min} if isinstance(same.layout, ScaleMin) else {})


def _whole_bytes(field: Field) -> slice | None:
    """The bytes of a field whose items fill bytes one after the other."""
    if field.at % 8 or field.bits % 8 or field.step not in (0, field.bits):
        return None
    return slice(field.at // 8, field.at // 8 + field.count * field.bits // 8)


def _by_shift(field: Field) -> list[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Items that begin at the same bit of their bytes: the bit, the items, their bytes."""
    at = np.array([field.bit(i) for i in range(field.count)])
    return [(int(s), np.flatnonzero(at % 8 == s), at[at % 8 == s] // 8) for s in np.unique(at % 8)]


def _put(records: NDArray[np.uint8], field: Field, items: NDArray[np.uint8]) -> None:
    """Write items ``[n, count]`` (of more than a byte: their bytes) into a field that holds zeros."""
    whole = _whole_bytes(field)
    if whole is not None:
        records[:, whole] = items
        return
    items = items & np.uint8((1 << field.bits) - 1)
    for shift, which, where in _by_shift(field):
        records[:, where] |= items[:, which] << np.uint8(shift)


def _take(records: NDArray[np.uint8], field: Field) -> NDArray[np.uint8]:
    """The items of a field, ``[n, count]``, or their bytes."""
    whole = _whole_bytes(field)
    if whole is not None:
        return np.ascontiguousarray(records[:, whole])
    out = np.empty((records.shape[0], field.count), np.uint8)
    for shift, which, where in _by_shift(field):
        out[:, which] = records[:, where] >> np.uint8(shift)
    return out & np.uint8((1 << field.bits) - 1)
