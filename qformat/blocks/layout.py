"""How a block-quantized tensor is laid out: the closed vocabulary that files describe themselves in.

A layout is a small tree. Its inner nodes say how numbers are made from codes, its leaves are the
planes, the arrays that a file stores::

    ScaleMin(block=32)            value = scale * code + min
    ├── codes   Codes(4)          plane "codes"          one per element
    ├── scale   Affine(block=8)   scale = scale' * code'
    │   ├── codes  Codes(6)       plane "scales.codes"   one per 32 elements
    │   └── scale  Floats("F16")  plane "scales.scales"  one per 256 elements
    └── min     Floats("F16")     plane "mins"           one per 32 elements

``block`` counts the node's own codes, so a nested node's block counts the scales it makes.
Blocks run along the last axis. A scheme outside the vocabulary is ``RawBlocks``: fixed-size byte
records that only its plugin decodes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from qformat.blocks import dtypes
from qformat.blocks.dtypes import packed_bytes
from qformat.errors import SchemeError

PLANE_FLOATS = ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0")


@dataclass(frozen=True)
class Codes:
    """Integers of 1 to 8 bits, densely packed; two's complement if signed."""

    bits: int
    signed: bool = False


@dataclass(frozen=True)
class Floats:
    """Floating-point numbers, stored as they are."""

    dtype: str


@dataclass(frozen=True)
class Affine:
    """value = scale * (code - zero_point); without a zero point, scale * code."""

    codes: Codes
    scale: Part
    zero_point: Part | None = None
    block: int = 32


@dataclass(frozen=True)
class ScaleMin:
    """value = scale * code + min."""

    codes: Codes
    scale: Part
    min: Part
    block: int = 32


@dataclass(frozen=True)
class Codebook:
    """value = scale * table[code]; the table has 2**bits binary32 numbers."""

    codes: Codes
    scale: Part
    table: tuple[float, ...]
    block: int = 32


@dataclass(frozen=True)
class Field:
    """``count`` equal fields of ``bits`` bits inside a raw block, LSB first: what its bits mean.

    Field ``i`` begins at bit ``at + i * step``; a step of 0 stands for ``bits``, one right after
    the other. ``kind`` is "uint", "int" (two's complement), or the name of a float type ("F16").
    A name ``section.rest`` puts the field into a section (see `sections`).
    """

    name: str
    at: int
    bits: int
    count: int = 1
    kind: str = "uint"
    step: int = 0

    def bit(self, i: int) -> int:
        """The record's bit at which field ``i`` begins."""
        return self.at + i * (self.step or self.bits)

    @property
    def end(self) -> int:
        """The bit after the last field."""
        return self.bit(self.count - 1) + self.bits


@dataclass(frozen=True)
class RawBlocks:
    """Records of ``size`` bytes, each holding ``block`` elements, outside the vocabulary."""

    size: int
    block: int
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Section:
    """Whole bytes of a raw block that its scheme takes and gives as one array ``[n, count]``.

    ``dtype`` is "U8", or the type of the section's only field where that is a whole number of bytes.
    """

    name: str
    at: int
    dtype: str
    count: int

    @property
    def size(self) -> int:
        return dtypes.nbytes(self.dtype, self.count)


Vocabulary = Affine | ScaleMin | Codebook
Layout = Vocabulary | RawBlocks
Part = Codes | Floats | Vocabulary
Leaf = Codes | Floats | RawBlocks

# Which parts a node has, and what the plane of each is called.
_PLANE_OF = {"scale": "scales", "zero_point": "zero_points", "min": "mins"}


@dataclass(frozen=True)
class Plane:
    """One stored array: an item for every ``span`` elements of a row."""

    name: str
    item: Leaf
    span: int

    def count(self, cols: int) -> int:
        """Items in a row of ``cols`` elements."""
        return -(-cols // self.span)

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row of ``cols`` elements."""
        count = self.count(cols)
        match self.item:
            case Codes(bits=bits):
                return packed_bytes(count, bits)
            case Floats(dtype=dtype):
                return dtypes.nbytes(dtype, count)
            case RawBlocks(size=size):
                return size * count

    def stored(self, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """Dtype and shape of the plane of a tensor of ``shape``."""
        *lead, cols = shape or (1,)
        match self.item:
            case Codes():
                return "U8", (*lead, self.row_bytes(cols))
            case Floats(dtype=dtype):
                return dtype, (*lead, self.count(cols))
            case RawBlocks(size=size):
                return "U8", (*lead, self.count(cols), size)

    @property
    def bits_per_element(self) -> float:
        """Bits that this plane adds to each element of a long row."""
        match self.item:
            case Codes(bits=bits):
                return bits / self.span
            case Floats(dtype=dtype):
                return dtypes.bits(dtype) / self.span
            case RawBlocks(size=size):
                return size * 8 / self.span


def sections(layout: RawBlocks) -> tuple[Section, ...]:
    """A raw block's record in byte-aligned sections, from the fields that share a name's first word.

    >>> q4 = RawBlocks(18, 32, (Field("d", 0, 16, kind="F16"), Field("qs.low", 16, 4, 16, step=8),
    ...                         Field("qs.high", 20, 4, 16, step=8)))
    >>> [(s.name, s.at, s.dtype, s.count) for s in sections(q4)]
    [('d', 0, 'F16', 1), ('qs', 2, 'U8', 16)]
    """
    groups: dict[str, list[Field]] = {}
    for field in layout.fields:
        groups.setdefault(field.name.partition(".")[0], []).append(field)
    if not groups:
        return (Section("blocks", 0, "U8", layout.size),)
    found = tuple(_section(name, fields) for name, fields in groups.items())
    if [s.at for s in found] != [sum(s.size for s in found[:i]) for i in range(len(found))]:
        raise SchemeError(f"the fields {', '.join(groups)} leave gaps between whole bytes, or overlap")
    if found[-1].at + found[-1].size != layout.size:
        raise SchemeError(f"the fields do not fill the block's {layout.size} bytes")
    return found


def _section(name: str, fields: list[Field]) -> Section:
    at, end = min(f.at for f in fields), max(f.end for f in fields)
    only = fields[0]
    if len(fields) == 1 and not only.step and only.bits % 8 == 0:
        whole = {"uint": f"U{only.bits}", "int": f"I{only.bits}"}.get(only.kind, only.kind)
        return Section(name, at // 8, whole, only.count)
    return Section(name, at // 8, "U8", -(-end // 8) - at // 8)


def parts(node: Vocabulary) -> list[tuple[str, Part]]:
    """The scale, zero point and minimum of a node, as (plane name, part)."""
    found = [(plane, getattr(node, role, None)) for role, plane in _PLANE_OF.items()]
    return [(plane, part) for plane, part in found if part is not None]


@functools.cache
def planes(layout: Layout) -> tuple[Plane, ...]:
    """All planes of a layout, codes first.

    >>> [(p.name, p.span) for p in planes(Affine(Codes(4, True), Floats("F16"), block=64))]
    [('codes', 1), ('scales', 64)]
    """
    if isinstance(layout, RawBlocks):
        return (Plane("blocks", layout, layout.block),)
    return tuple(_planes(layout, "", 1))


def _planes(node: Vocabulary, prefix: str, span: int) -> list[Plane]:
    found = [Plane(prefix + "codes", node.codes, span)]
    for name, part in parts(node):
        if isinstance(part, Codes | Floats):
            found.append(Plane(prefix + name, part, span * node.block))
        else:
            found.extend(_planes(part, f"{prefix}{name}.", span * node.block))
    return found


def block_size(layout: Layout) -> int:
    """Elements that are encoded together: the superblock where scales are themselves coded."""
    return max(*(p.span for p in planes(layout)), layout.block)


def bits_per_weight(layout: Layout) -> float:
    """Bits per weight in long rows, everything counted."""
    return sum(p.bits_per_element for p in planes(layout))


def stored_bytes(layout: Layout, shape: tuple[int, ...]) -> int:
    """Exact bytes of all planes of a tensor of ``shape``."""
    rows, cols = rows_cols(shape)
    return rows * sum(p.row_bytes(cols) for p in planes(layout))


def rows_cols(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor seen as rows: all axes but the last are joined; a scalar is one row of one.

    >>> rows_cols((2, 3, 8)), rows_cols((5,)), rows_cols(())
    ((6, 8), (1, 5), (1, 1))
    """
    *lead, cols = shape or (1,)
    rows = 1
    for n in lead:
        rows *= n
    return rows, cols
