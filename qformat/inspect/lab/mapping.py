"""A block's values under several schemes: what is stored, what comes back, and how far that lies off.

The schemes' own encoders do the work, so that every figure is what `convert` would get.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import bits
from qformat.blocks.decode import decode_blocks, unpack_plane
from qformat.blocks.layout import Codes, Layout, Plane, RawBlocks, block_size, planes, rows_cols
from qformat.blocks.sums import measure
from qformat.blocks.tiles import Tile
from qformat.convert.figures import Figures
from qformat.errors import DataError, QFormatError, SchemeError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.values import values
from qformat.schemes.scheme import Scheme

# Symmetric and asymmetric, at 8, 4 and 2 bits.
SPECS = ("sym8", "sym4", "sym2", "asym8", "asym4", "asym2")


@dataclass(frozen=True)
class Mapped:
    """A block under one scheme.

    ``shared`` has what its values share (scale, zero point, minimum) by plane, ``codes`` one code for
    each value. Both are empty where only the scheme itself knows what its bytes mean. ``levels`` are
    the numbers that could be stored beside these: ascending, and all that the codes can express.
    """

    spec: str
    bpw: float
    shared: tuple[tuple[str, tuple[float, ...]], ...]
    codes: tuple[int, ...]
    values: tuple[float, ...]
    levels: tuple[float, ...]
    figures: Figures
    rmse: float  # absolute, in the values' own unit

    @property
    def used(self) -> int:
        """How many different levels the values took."""
        return len(set(self.values))

    def fact(self) -> str:
        """What is shared, in words."""
        return ", ".join(
            f"{name.replace('_', ' ').removesuffix('s')} {items[0]:.6g}"
            if len(items) == 1
            else f"{len(items)} {name.replace('_', ' ')}"
            for name, items in self.shared
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "scheme": self.spec,
            "bits_per_weight": self.bpw,
            "shared": {name: list(items) for name, items in self.shared},
            "codes": list(self.codes),
            "values": list(self.values),
            "levels": list(self.levels),
            "error": self.figures.numbers() | {"rmse": self.rmse},
        }


def block_values(checkpoint: Checkpoint, info: TensorInfo, index: int, size: int) -> NDArray[np.float32]:
    """The values of the ``index``-th run of ``size`` along a tensor's rows; a row's last may be shorter.

    Raises
    ------
    QFormatError
        If the tensor has no such run.
    """
    rows, cols = rows_cols(info.shape)
    per_row = -(-cols // size)
    if not 0 <= index < rows * per_row:
        last = rows * per_row - 1
        raise QFormatError(f"it has blocks 0 to {last:,} of {size} values; not {index}", tensor=info.name)
    row, at = divmod(index, per_row)
    tile = Tile(row, 1, at * size, min(size, cols - at * size))
    with np.errstate(over="ignore"):
        return np.asarray(values(checkpoint, info, tile), np.float32).reshape(-1)


def scheme_for(spec: str, size: int) -> Scheme:
    """A scheme as it is typed, with blocks of ``size`` if it leaves that open and can have them.

    Raises
    ------
    SchemeError
        For an unknown scheme or option, and for a scheme whose blocks are larger.
    """
    from qformat.schemes.registry import registry

    scheme = registry().parse(spec)
    if "block=" not in spec and size in block_sizes(scheme):
        return dataclasses.replace(scheme, block=size)  # type: ignore[call-arg]
    if scheme.block_size > size:
        raise SchemeError(
            f"{scheme.spec()} encodes {scheme.block_size} values together, and these are {size}",
            hint=f"take {scheme.block_size} values",
        )
    return scheme


def block_sizes(scheme: Scheme) -> tuple[int, ...]:
    """The sizes of block that a scheme leaves to choose; none if that is not an option of it."""
    allowed = next((a for name, _, a, _ in scheme.option_help() if name == "block"), ())
    return tuple(int(n) for n in allowed)


def mapped(
    block: Sequence[float] | NDArray[np.float32], specs: Iterable[str] = SPECS, size: int | None = None
) -> list[Mapped]:
    """A block's values under each of some schemes.

    ``size`` is that of a whole block, where these are a row's shorter end.

    Raises
    ------
    DataError
        For NaN, infinity, and values too large for a scale.
    SchemeError
        For an unknown scheme, or one that does not encode.
    """
    array = np.asarray(block, np.float32).reshape(1, -1)
    return [mapped_by(scheme_for(spec, size or array.size), array) for spec in specs]


def mapped_by(scheme: Scheme, array: NDArray[np.float32]) -> Mapped:
    """A block ``[1, n]`` under a scheme."""
    stored, decoded = round_trip(scheme, array)
    layout, n = scheme.layout(), array.size
    items = {p.name: _items(p, stored[p.name], n, layout) for p in planes(layout)}
    known = {} if isinstance(layout, RawBlocks) else items
    shared = tuple((k, tuple(float(i) for i in v)) for k, v in known.items() if k != "codes")
    codes = tuple(int(c) for c in known["codes"]) if known else ()
    sums = measure(array, decoded)
    values = tuple(float(v) for v in decoded[0])
    levels = _levels(layout, known) or tuple(sorted(set(values)))
    rmse = math.sqrt(sums.error2 / n)
    return Mapped(scheme.spec(), scheme.bpw, shared, codes, values, levels, Figures.of(sums), rmse)


def round_trip(
    scheme: Scheme, rows: NDArray[np.float32]
) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.float32]]:
    """Encode rows and decode them again: planes as a file holds them, and values of the rows' shape."""
    from qformat.schemes.coder import decode, encode

    try:
        stored = encode(scheme, rows, threads=1).planes
    except DataError as error:
        error.hint = error.hint if error.at is None else "the lab maps finite values only"
        raise
    return stored, decode(scheme, stored, rows.shape, threads=1)


def _items(plane: Plane, data: NDArray[np.uint8], n: int, layout: Layout) -> NDArray[Any]:
    from qformat.schemes.coder import plane_rows

    return unpack_plane(plane, plane_rows(plane, data, 1, n), n, block_size(layout)).reshape(-1)[
        : plane.count(n)
    ]


def _levels(layout: Layout, items: dict[str, NDArray[Any]]) -> tuple[float, ...]:
    """All numbers that codes can express with one scale; none where scales are themselves coded."""
    if isinstance(layout, RawBlocks) or any(v.size != 1 for k, v in items.items() if k != "codes"):
        return ()
    if any(isinstance(p.item, Codes) and "." in p.name for p in planes(layout)):
        return ()
    low, high = bits.code_range(layout.codes.bits, signed=layout.codes.signed)
    codes = np.arange(low, high + 1).reshape(1, -1)
    every = {k: v.reshape(1, -1) for k, v in items.items()} | {"codes": codes}
    wide = dataclasses.replace(layout, block=codes.size)
    return tuple(sorted({float(v) for v in decode_blocks(wide, every)[0]}))
