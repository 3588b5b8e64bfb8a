"""Reading a tensor's values region by region, whatever file it is in and however it is coded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.decode import as_rows
from qformat.blocks.descriptor import SchemeRecord
from qformat.blocks.dtypes import numpy_dtype
from qformat.blocks.layout import rows_cols
from qformat.blocks.tiles import Tile, tiles
from qformat.files.checkpoint import Checkpoint, TensorInfo

if TYPE_CHECKING:
    from qformat.schemes.kernels import Kernel


class TensorSource:
    """One tensor as rows; ``dtype`` is what its regions come in.

    Quantized values come in float32; with ``dtype`` set to BF16, rounded to that.
    """

    def __init__(self, checkpoint: Checkpoint, info: TensorInfo) -> None:
        self.info = info
        self.rows, self.cols = rows_cols(info.shape)
        self.planes = {name: as_rows(checkpoint.plane(info.name, name), info.shape) for name in info.planes}
        self.kernel = _decoder(info.scheme) if info.scheme else None
        self.dtype = "F32" if info.scheme else info.dtype

    def stored_rows(self, plane: str, start: int, stop: int) -> NDArray[Any]:
        """Rows of a plane as they are stored."""
        return self.planes[plane][start:stop]

    def stored_at(self, plane: str, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows of a plane as they are stored, by their numbers."""
        chosen: NDArray[Any] = self.planes[plane][wanted]
        return chosen

    @property
    def plane_names(self) -> tuple[str, ...]:
        return tuple(self.info.planes)

    def rows_at(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """The values of some rows, by their numbers; as those of a region."""
        stored = {name: self.stored_at(name, wanted) for name in self.plane_names}
        return self.values(stored, Tile(0, wanted.size, 0, self.cols))

    def region(self, tile: Tile) -> NDArray[Any]:
        """The values of a region: a mapped view of a plain tensor, or decoded ones."""
        return self.values(self.planes, tile)

    def values(self, stored: Mapping[str, NDArray[Any]], tile: Tile) -> NDArray[Any]:
        """The values of a region of planes held as rows."""
        kernel = self.kernel
        if kernel is None:
            return stored[""][tile.slices]
        from qformat.schemes.coder import decode_tile

        # A region starts where the reader likes; eight blocks are whole bytes in every plane.
        step = kernel.block * 8
        first = tile.col // step * step
        width = tile.col + tile.cols - first
        parts = list(tiles(tile.rows, width, kernel.block, kernel.decode_blocks))
        out = None if len(parts) == 1 else np.empty((tile.rows, width), numpy_dtype(self.dtype))
        for part in parts:
            there = Tile(tile.row + part.row, part.rows, first + part.col, part.cols)
            found = decode_tile(kernel.layout, stored, there, self.cols, kernel, self.dtype)
            if out is None:
                out = found
            else:
                out[part.slices] = found
        assert out is not None
        return out[:, tile.col - first :]


def _decoder(record: SchemeRecord) -> Kernel:
    """The kernel of a scheme; JAX is imported for the first of them, not for plain tensors."""
    from qformat.schemes.described import decoder

    return decoder(record)


def tensor_source(checkpoint: Checkpoint, info: TensorInfo) -> TensorSource:
    """A tensor to be read region by region; a checkpoint may have its own way to make one."""
    make: Callable[[TensorInfo], TensorSource] | None = getattr(checkpoint, "tensor_source", None)
    return make(info) if make is not None else TensorSource(checkpoint, info)


REGION_BLOCK, REGION_BLOCKS = 1024, 512  # half a million values


def regions(rows: int, cols: int) -> list[Tile]:
    """Regions of a size that stays in cache, for work that has no blocks of its own."""
    return list(tiles(rows, cols, REGION_BLOCK, REGION_BLOCKS))
