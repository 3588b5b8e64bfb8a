"""Whole tensors through kernels: rows into tiles, ragged ends, planes as a file holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import bits, dtypes
from qformat.blocks.decode import decode_rows, unpack_plane
from qformat.blocks.layout import Codes, Floats, Layout, Plane, RawBlocks, planes, rows_cols
from qformat.blocks.sums import Sums, measure
from qformat.blocks.tiles import Tile, tiles
from qformat.errors import DataError, FormatError, SchemeError
from qformat.schemes.crew import in_threads
from qformat.schemes.kernels import Kernel, kernel
from qformat.schemes.scheme import Scheme
from qformat.schemes.scratch import ALIGN, scratch

# Source types that the kernels widen themselves; any other becomes float32 tile by tile.
_KERNEL_DTYPES = ("F32", "F16", "BF16")
TINY_SQUARE = 1e-24  # of values: the square of an error a ten-thousandth as large is 1e-32


def plane_offset(plane: Plane, tile: Tile, cols: int) -> int:
    """Where in a plane's bytes a tile's part begins, for rows of ``cols`` elements."""
    return tile.row * plane.row_bytes(cols) + plane.row_bytes(tile.col)


# --- encoding -----------------------------------------------------------------------------------


def encode_tile(
    kern: Kernel,
    values: NDArray[Any],
    dtype: str,
    *,
    weights: NDArray[np.float32] | None = None,
    figures: bool = False,
    out: Mapping[str, NDArray[np.uint8]] | None = None,
) -> tuple[Mapping[str, NDArray[np.uint8]], Sums]:
    """Encode a tile ``[rows, cols]`` of ``dtype`` values to each plane's bytes, one row after another.

    A ragged last block is filled with the row's last element, which widens no range; what the
    file stores stops at the row's end. Sums are zero unless ``figures``. ``weights`` are the
    importances of the elements, ``[rows, cols]`` or ``[cols]``, for a scheme that heeds them. The bytes
    go to ``out``, where it is given.

    Raises
    ------
    DataError
        For NaN or infinity in the values, and for scales that overflow.
    """
    rows, cols = values.shape
    if dtype not in _KERNEL_DTYPES:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        dtype = "F32"
    elif dtype == "BF16":
        values = values.view(np.uint16)
    blocks, mask = _fill(kern, values)
    spread = _weights(kern, values, dtype, weights) if weights is not None and kern.scheme.weighted else None
    found = kern.encode(blocks, dtype, mask=mask, weights=spread, figures=figures)
    if not found.finite:
        _refuse_values(values, dtype)
    count, sums = rows * -(-cols // kern.block), found.sums
    _check_floats(kern, {name: array[:count] for name, array in found.floats.items()}, values, dtype)
    if sums is not None and not _fits_float32(sums, values):
        sums = _exact_sums(kern, found.planes, blocks, dtype, mask)
    used = {name: array[:count] for name, array in found.planes.items()}
    return _stored(kern, used, rows, cols, out), sums or Sums()


def check_rows(kern: Kernel, cols: int) -> None:
    """Refuse to heed importances where a scheme must see rows whole that are longer than a tile.

    Raises
    ------
    SchemeError
        It says how long rows may be.
    """
    most = kern.blocks * kern.block
    if kern.scheme.whole_rows and cols > most:
        raise SchemeError(
            f"{kern.scheme.id} heeds importances in rows of at most {most:,} elements, not in {cols:,}",
            hint="choose a type of superblocks, such as q4_k, or leave the importances away",
        )


def _weights(
    kern: Kernel, values: NDArray[Any], dtype: str, importance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A tile's element weights as a full tile of blocks."""
    numbers = _numbers(values, dtype).astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"), kern.scheme.blamed("element_weights"):
        # Bad values are refused by name, later.
        found = kern.scheme.element_weights(numbers, np.broadcast_to(importance, values.shape))
    return _fill(kern, found, fill=0)[0]


def _fill(
    kern: Kernel, values: NDArray[Any], fill: int | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """A tile's values as a full tile of blocks, and which of its elements are the tensor's own."""
    rows, cols = values.shape
    per_row = -(-cols // kern.block)
    shape = (kern.blocks, kern.block)
    whole = rows * per_row == kern.blocks and cols % kern.block == 0
    if whole and values.flags.c_contiguous and values.ctypes.data % ALIGN == 0:
        return values.reshape(shape), None
    blocks = scratch("values" if fill is None else "weights", shape, values.dtype)
    used = blocks.reshape(-1)[: rows * per_row * kern.block].reshape(rows, -1)
    used[:, :cols] = values
    if whole:
        return blocks, None
    used[:, cols:] = values[:, -1:] if fill is None else fill
    blocks.reshape(-1)[used.size :] = 0
    mask = scratch("mask", shape, np.bool_)
    mask[:] = False
    mask.reshape(-1)[: used.size].reshape(rows, -1)[:, :cols] = True
    return blocks, mask


def _stored(
    kern: Kernel,
    items: Mapping[str, NDArray[Any]],
    rows: int,
    cols: int,
    out: Mapping[str, NDArray[np.uint8]] | None,
) -> Mapping[str, NDArray[np.uint8]]:
    """A tile's items as each plane's bytes."""
    found = {p.name: _store(p, items[p.name], rows, cols, kern.block) for p in kern.planes}
    if out is None:
        return found
    for name, data in found.items():
        out[name][:] = data
    return out


def _store(plane: Plane, items: NDArray[Any], rows: int, cols: int, block: int) -> NDArray[np.uint8]:
    """Items ``[rows * blocks, …]`` of a plane as the bytes that a file holds."""
    row_bytes = plane.row_bytes(cols)
    if isinstance(plane.item, Codes):
        if items.dtype != np.uint8 or plane.span != 1 or block % 8:
            items = _pack(items.reshape(rows, -1)[:, : plane.count(cols)], plane.item.bits)
        data = items.reshape(rows, -1)
        spare = plane.count(cols) * plane.item.bits % 8
        if data.shape[1] != row_bytes or spare:
            data = data[:, :row_bytes].copy()
            if spare:
                data[:, -1] &= (1 << spare) - 1
        return np.ascontiguousarray(data).reshape(-1)
    if isinstance(plane.item, Floats):
        items = items.reshape(rows, -1)[:, : plane.count(cols)]
    return np.ascontiguousarray(items).reshape(-1).view(np.uint8)


def _pack(codes: NDArray[Any], width: int) -> NDArray[np.uint8]:
    """`bits.pack`, with a shorter way for the common nibbles, whose pairs are 16-bit words."""
    if width != 4 or codes.shape[1] % 2 or not codes.flags.c_contiguous or codes.itemsize != 1:
        return bits.pack(codes, width)
    pairs = codes.view("<u2")
    return (pairs & 0xF | pairs >> 4 & 0xF0).astype(np.uint8)


def _check_floats(kern: Kernel, floats: Mapping[str, NDArray[Any]], values: NDArray[Any], dtype: str) -> None:
    """Refuse scales and the like that overflowed."""
    for name, numbers in floats.items():
        if _all_finite(numbers):
            continue
        _refuse_values(values, dtype)
        peak = float(np.abs(_numbers(values, dtype)).max())
        if peak < 1:
            what = f"it gives NaN or infinity in {name!r} for values up to {peak:g}"
            raise kern.scheme.fault("encode", what)
        wider = "a wider type for the scale, such as scale=bf16 or scale=f32, or "
        raise DataError(
            f"the values are too large for {kern.scheme.spec()}: its {name} overflow "
            f"{dtype_name(numbers.dtype)}",
            hint=f"choose {wider if 'scale' in kern.scheme.options() else ''}another scheme",
        )


def _all_finite(numbers: NDArray[Any]) -> bool:
    """Whether no number is infinite or NaN; for binary16 by its bits, which is much faster."""
    if numbers.dtype == np.float16 and numbers.size:
        return int((numbers.view(np.uint16) & 0x7FFF).max()) < 0x7C00
    return bool(np.isfinite(numbers).all())


def _numbers(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """A tile's values under their own type; bfloat16 comes as its bits."""
    return values.view(dtypes.numpy_dtype("BF16")) if dtype == "BF16" else values


def _refuse_values(values: NDArray[Any], dtype: str) -> None:
    """Raise the error that names the first NaN or infinity, if there is one."""
    numbers = _numbers(values, dtype)
    if np.isfinite(numbers).all():
        return
    row, col = np.argwhere(~np.isfinite(numbers))[0]
    error = DataError(
        f"the value is {float(numbers[row, col])}, which no scheme can hold",
        hint="mend the checkpoint, or keep this tensor as it is (--keep PATTERN)",
    )
    error.at = (int(row), int(col))
    raise error


def _fits_float32(sums: Sums, values: NDArray[Any]) -> bool:
    """Whether no square overflowed or came near the smallest number, and errors are not all there is."""
    if not np.isfinite(sums.value2 + sums.error2) or sums.error2 > 0.9 * sums.value2:
        return not values.any()  # the sums over decoded values, as differences, are not exact then
    return sums.value2 > TINY_SQUARE * values.size or not values.any()


def _exact_sums(
    kern: Kernel, items: Mapping[str, NDArray[Any]], blocks: NDArray[Any], dtype: str, mask: Any
) -> Sums:
    """The sums in float64, for values whose squares float32 cannot hold."""
    numbers = _numbers(blocks, dtype)
    decoded = kern.decode(items).astype(np.float64)
    values = numbers.astype(np.float64)
    if mask is not None:
        values, decoded = values[mask], decoded[mask]
    return measure(values, decoded)


# --- decoding -----------------------------------------------------------------------------------


def decode_tile(
    layout: Layout,
    stored: Mapping[str, NDArray[Any]],
    tile: Tile,
    cols: int,  # noqa: ARG001  part of what a tile is a tile of, as in plane_offset
    kern: Kernel | None = None,
    dtype: str = "F32",
) -> NDArray[Any]:
    """Decode a tile from planes ``[all rows, …]`` to float32 ``[tile.rows, tile.cols]``.

    Without a kernel NumPy does it, from the layout alone: the same bits, some times slower. With
    one, ``dtype`` may be BF16.
    """
    part = {p.name: _rows_of(p, stored[p.name], tile) for p in planes(layout)}
    if kern is None:
        return decode_rows(layout, part, tile.cols)
    count = tile.rows * -(-tile.cols // kern.block)
    items = {}
    for plane in kern.planes:
        items[plane.name] = _items(kern, plane, part[plane.name], tile, count)
    return kern.decode(items, dtype)[:count].reshape(tile.rows, -1)[:, : tile.cols]


def _rows_of(plane: Plane, array: NDArray[Any], tile: Tile) -> NDArray[Any]:
    if isinstance(plane.item, Codes):
        first, size = plane.row_bytes(tile.col), plane.row_bytes(tile.cols)
    else:
        first, size = plane.count(tile.col), plane.count(tile.cols)
    return array[tile.row : tile.row + tile.rows, first : first + size]


def _items(kern: Kernel, plane: Plane, part: NDArray[Any], tile: Tile, count: int) -> NDArray[Any]:
    """A plane's part as a full tile of items, the way the kernel takes them."""
    if isinstance(plane.item, Codes) and plane.span == 1 and kern.block % 8 == 0:
        per_block = kern.block * plane.item.bits // 8
        out = scratch(plane.name, (kern.room(count), per_block), np.uint8)
        used = out.reshape(-1)[: count * per_block].reshape(tile.rows, -1)
        used[:, : part.shape[1]] = part
        used[:, part.shape[1] :] = 0
        return out
    opened = unpack_plane(plane, part, tile.cols, kern.block)
    if count == kern.room(count) and opened.flags.c_contiguous and opened.ctypes.data % ALIGN == 0:
        return opened
    out = scratch(plane.name, (kern.room(count), opened.shape[1]), opened.dtype)
    out[:count] = opened
    return out


# --- whole arrays -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoded:
    """A tensor's planes as a file holds them, and the sums of its error figures."""

    planes: dict[str, NDArray[np.uint8]]
    sums: Sums


def encode(
    scheme: Scheme,
    array: NDArray[Any],
    *,
    weights: NDArray[np.float32] | None = None,
    threads: int = 2,
    figures: bool = False,
    out: dict[str, NDArray[np.uint8]] | None = None,
) -> Encoded:
    """Encode an array of any shape in memory; ``weights`` are importances that broadcast to it.

    Returns each plane's bytes; `qformat.blocks.layout.Plane.stored` tells their shape. They are those
    of ``out``, where it is given: one array of bytes per plane.
    """
    dtype = dtype_name(array.dtype)
    kern = kernel(scheme)
    rows, cols = rows_cols(array.shape)
    table = array.reshape(rows, cols)
    important = None
    if weights is not None:
        check_rows(kern, cols)
        important = np.broadcast_to(weights, array.shape).reshape(rows, cols)
    if out is None:
        out = {p.name: np.empty(rows * p.row_bytes(cols), np.uint8) for p in kern.planes}

    def work(tile: Tile) -> Sums:
        part = None if important is None else important[tile.slices]
        places = {}
        for plane in kern.planes:
            start, size = plane_offset(plane, tile, cols), tile.rows * plane.row_bytes(tile.cols)
            places[plane.name] = out[plane.name][start : start + size]
        return encode_tile(kern, table[tile.slices], dtype, weights=part, figures=figures, out=places)[1]

    total = sum(in_threads(work, tiles(rows, cols, kern.block, kern.blocks), threads), Sums())
    return Encoded(out, total)


def decode(
    scheme: Scheme,
    stored: Mapping[str, NDArray[np.uint8]],
    shape: tuple[int, ...],
    *,
    threads: int = 2,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Decode planes that `encode` gave back to float32 of ``shape``; into ``out``, where it is given."""
    kern = kernel(scheme)
    rows, cols = rows_cols(shape)
    found = np.empty(shape, np.float32) if out is None else out
    assert found.flags.c_contiguous, "a part of an array cannot be written to"
    table = found.reshape(rows, cols)
    views = {p.name: plane_rows(p, stored[p.name], rows, cols) for p in kern.planes}

    def work(tile: Tile) -> None:
        table[tile.slices] = decode_tile(kern.layout, views, tile, cols, kern)

    in_threads(work, tiles(rows, cols, kern.block, kern.decode_blocks), threads)
    return found


def plane_rows(plane: Plane, data: NDArray[np.uint8], rows: int, cols: int) -> NDArray[Any]:
    """A plane's bytes as rows of bytes (codes, raw blocks) or of floats."""
    table = data.reshape(rows, plane.row_bytes(cols))
    if isinstance(plane.item, Floats):
        return table.view(dtypes.numpy_dtype(plane.item.dtype))
    if isinstance(plane.item, RawBlocks):
        return table.reshape(rows, plane.count(cols), plane.item.size)
    return table


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a NumPy dtype as files have it."""
    for name in dtypes.NAMES:
        if dtypes.bits(name) >= 8 and dtypes.numpy_dtype(name) == dtype:
            return name
    raise FormatError(f"no dtype in a file corresponds to {dtype}")
