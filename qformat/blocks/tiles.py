"""Tensors cut into regions of a size that stays in cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """A region of a tensor seen as rows: whole rows, or a part of one that is longer than a tile."""

    row: int
    rows: int
    col: int
    cols: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.row, self.row + self.rows), slice(self.col, self.col + self.cols)


def tiles(rows: int, cols: int, block: int, capacity: int) -> Iterator[Tile]:
    """Cut ``rows`` by ``cols`` into tiles of at most ``capacity`` blocks (a multiple of 8), in order."""
    if rows * cols == 0:
        return
    per_row = -(-cols // block)
    if per_row <= capacity:
        step = capacity // per_row
        for row in range(0, rows, step):
            yield Tile(row, min(step, rows - row), 0, cols)
        return
    for row in range(rows):
        for col in range(0, cols, capacity * block):
            yield Tile(row, 1, col, min(capacity * block, cols - col))
