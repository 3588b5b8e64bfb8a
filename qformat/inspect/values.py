"""The values of a region of a tensor, with NumPy alone wherever the file says how to decode them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.decode import as_rows, decode_rows
from qformat.blocks.layout import Codes, Plane, RawBlocks, planes
from qformat.blocks.tiles import Tile
from qformat.files.checkpoint import Checkpoint, TensorInfo


def values(checkpoint: Checkpoint, info: TensorInfo, tile: Tile) -> NDArray[Any]:
    """The values of a region, decoded by the descriptor alone; raw blocks load their plugin."""
    made = getattr(checkpoint, "tensor_source", None)
    if made is not None:
        return np.asarray(made(info).region(tile))
    stored = {name: as_rows(checkpoint.plane(info.name, name), info.shape) for name in info.planes}
    if info.scheme is None:
        return stored[""][tile.slices]
    if isinstance(info.scheme.layout, RawBlocks):
        from qformat.views.source import TensorSource

        return TensorSource(checkpoint, info).region(tile)
    step = info.scheme.block * 8  # a whole number of bytes in every plane
    first = tile.col // step * step
    part = {}
    for plane in planes(info.scheme.layout):
        rowwise = stored[plane.name][tile.row : tile.row + tile.rows]
        part[plane.name] = _columns(plane, rowwise, first, tile.col + tile.cols)
    return decode_rows(info.scheme.layout, part, tile.col + tile.cols - first)[:, tile.col - first :]


def _columns(plane: Plane, rows: NDArray[Any], first: int, end: int) -> NDArray[Any]:
    if isinstance(plane.item, Codes):
        return rows[:, plane.count(first) * plane.item.bits // 8 : plane.row_bytes(end)]
    return rows[:, plane.count(first) : plane.count(end)]
