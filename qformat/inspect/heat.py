"""A tensor as a map with one number for each block: its scale, its peak, or its error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.decode import as_rows, decode_rows
from qformat.blocks.fields import field_values
from qformat.blocks.layout import Codes, Field, Floats, RawBlocks, block_size, planes, rows_cols
from qformat.blocks.tiles import Tile
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.usage import layout_of
from qformat.inspect.values import values

SCALE, PEAK, ERROR = "scale", "peak", "error"
PLAIN_BLOCK = 32  # values that make a cell of a tensor that has no blocks


def cell_size(info: TensorInfo) -> int:
    """Values that a cell stands for: a block, or 32 values of a plain tensor."""
    return info.scheme.block if info.scheme else PLAIN_BLOCK


def map_shape(info: TensorInfo) -> tuple[int, int]:
    """Rows and cells per row of a tensor's map."""
    rows, cols = rows_cols(info.shape)
    return rows, -(-cols // cell_size(info))


def kinds(info: TensorInfo, *, has_original: bool) -> tuple[str, ...]:
    """What a map of this tensor can show."""
    scale = (SCALE,) if info.scheme is not None and _scale_field(info) is not None else ()
    return (*scale, PEAK, *((ERROR,) if has_original else ()))


def heat(
    checkpoint: Checkpoint,
    info: TensorInfo,
    kind: str,
    cells: Tile,
    original: tuple[Checkpoint, TensorInfo] | None = None,
) -> NDArray[np.float64]:
    """Numbers ``[rows, cols]`` for a region of the map, reading no more than that.

    ``scale`` is the magnitude of a block's scale (the mean, where it has several), ``peak`` the
    largest magnitude of its values, ``error`` the RMSE against ``original`` relative to that one's.

    Raises
    ------
    QFormatError
        If the original has another shape, or a plugin is missing.
    """
    if kind == SCALE:
        return _scales(checkpoint, info, cells)
    size, (_, cols) = cell_size(info), rows_cols(info.shape)
    first = cells.col * size
    tile = Tile(cells.row, cells.rows, first, min(cols, first + cells.cols * size) - first)
    found = values(checkpoint, info, tile).astype(np.float64)
    if kind == PEAK:
        return np.asarray(_blocks(np.abs(found), cells, size).max(axis=2))
    if original is None or original[1].shape != info.shape:
        raise QFormatError("the original has no such tensor of this shape", tensor=info.name)
    wanted = values(*original, tile).astype(np.float64)
    power = _blocks(wanted**2, cells, size).sum(axis=2)
    error = _blocks((found - wanted) ** 2, cells, size).sum(axis=2)
    ratio = np.divide(error, power, out=np.where(error > 0, np.inf, 0.0), where=power > 0)
    return np.asarray(np.sqrt(ratio))


def _blocks(found: NDArray[np.float64], cells: Tile, size: int) -> NDArray[np.float64]:
    """Rows of values in blocks ``[rows, cells, size]``; a ragged end is filled with zeros."""
    missing = cells.cols * size - found.shape[1]
    if missing:
        found = np.pad(found, ((0, 0), (0, missing)))
    return found.reshape(cells.rows, cells.cols, size)


def _scale_field(info: TensorInfo) -> Field | str | None:
    assert info.scheme is not None
    layout = layout_of(info.scheme)
    if not isinstance(layout, RawBlocks):
        return "scales"
    floats = [f for f in layout.fields if f.kind not in ("uint", "int")]
    single = [f for f in layout.fields if f.count == 1]
    return next(iter([*floats, *single]), None)


def _scales(checkpoint: Checkpoint, info: TensorInfo, cells: Tile) -> NDArray[np.float64]:
    assert info.scheme is not None
    field = _scale_field(info)
    layout = layout_of(info.scheme)
    rows = slice(cells.row, cells.row + cells.rows)
    if isinstance(layout, RawBlocks):
        assert isinstance(field, Field)
        stored = as_rows(checkpoint.plane(info.name, "blocks"), info.shape)
        records = stored[rows, cells.col : cells.col + cells.cols].reshape(-1, layout.size)
        found = field_values(field, records).astype(np.float64)
        return np.asarray(np.abs(found).mean(axis=1).reshape(cells.rows, cells.cols))
    span = next(p.span for p in planes(layout) if p.name.startswith("scales"))
    per_cell = block_size(layout) // span
    _, cols = rows_cols(info.shape)
    parts = {
        p.name.removeprefix("scales."): as_rows(checkpoint.plane(info.name, p.name), info.shape)[rows]
        for p in planes(layout)
        if p.name.startswith("scales")
    }
    scale = layout.scale
    if isinstance(scale, Codes | Floats):
        numbers: NDArray[Any] = parts["scales"]
    else:
        numbers = decode_rows(scale, parts, -(-cols // span))
    first, end = cells.col * per_cell, (cells.col + cells.cols) * per_cell
    found = np.abs(numbers[:, first:end].astype(np.float64))
    missing = cells.cols * per_cell - found.shape[1]
    if missing:
        found = np.pad(found, ((0, 0), (0, missing)), constant_values=np.nan)
    return np.asarray(np.nanmean(found.reshape(cells.rows, cells.cols, per_cell), axis=2))
