"""A checkpoint seen in the names and the storage of another format, made as it is read.

Operations that move whole rows are done on the stored rows, quantized or not, a region at a time;
the few others (a norm plus one, a transposed projection) on the values of their one tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.decode import as_rows
from qformat.blocks.layout import planes, rows_cols
from qformat.blocks.tiles import Tile
from qformat.errors import FormatError
from qformat.families.ops import AddOne, Constant, Derived, LogNeg, NegExp, SubtractOne
from qformat.files.checkpoint import Checkpoint, Stored, TensorInfo
from qformat.views.source import TensorSource

_IN_FLOAT32 = (AddOne, SubtractOne, NegExp, LogNeg, Constant)


class DerivedCheckpoint:
    """Tensors made of another checkpoint's by the operations of its family."""

    def __init__(
        self, source: Checkpoint, derived: Sequence[Derived], attachments: Mapping[str, bytes]
    ) -> None:
        self.source = source
        self.path = source.path
        self.format = source.format
        self.files = source.files
        self.metadata: Mapping[str, str] = {}
        self.digests: Mapping[str, str] = {}
        self.attachments: Mapping[str, int] = {name: len(data) for name, data in attachments.items()}
        self._attached = attachments
        self._derived = {d.name: d for d in derived if not d.dropped}
        self.keep_f32 = frozenset(d.name for d in self._derived.values() if d.keep_f32)
        self.tensors: Mapping[str, TensorInfo] = {n: self._info(d) for n, d in self._derived.items()}

    def _info(self, derived: Derived) -> TensorInfo:
        infos = [self.source.tensors[name] for name in derived.sources]
        where = next((s for i in infos for s in i.planes.values()), None)
        file = where.file if where else self.path
        alike = len({(i.dtype, i.scheme.spec() if i.scheme else "") for i in infos}) == 1
        if alike and _moves_rows(derived) and infos[0].scheme is not None:
            scheme = infos[0].scheme
            stored = {p.name: p.stored(derived.shape) for p in planes(scheme.layout)}
            coded = {n: _stored(derived.name, d, s, file) for n, (d, s) in stored.items()}
            return TensorInfo(derived.name, derived.shape, infos[0].dtype, coded, scheme)
        plain = alike and infos[0].scheme is None and not isinstance(derived.op, _IN_FLOAT32)
        dtype = infos[0].dtype if plain else "F32"
        return TensorInfo(
            derived.name, derived.shape, dtype, {"": _stored(derived.name, dtype, derived.shape, file)}
        )

    def tensor_source(self, info: TensorInfo) -> TensorSource:
        """The tensor, to be read region by region."""
        derived = self._derived[info.name]
        sources = [TensorSource(self.source, self.source.tensors[n]) for n in derived.sources]
        if _moves_rows(derived) and len({(s.dtype, s.info.scheme is None) for s in sources}) == 1:
            return _MovedRows(info, derived, sources)
        return _Made(info, derived, sources)

    def origin(self, tensor: str, row: int) -> tuple[str, int]:
        """The stored tensor, and the row of it, that is a row of a quantized tensor seen here."""
        derived = self._derived[tensor]
        shapes = {name: self.source.tensors[name].shape for name in derived.sources}
        at = int(derived.op.row_map(list(shapes.values()))[row])
        for name, shape in shapes.items():
            rows, _ = rows_cols(shape)
            if at < rows:
                return name, at
            at -= rows
        raise AssertionError(f"{tensor} has no row {row}")

    def plane(self, tensor: str, plane: str = "") -> NDArray[Any]:
        """One array of a tensor, made as a whole: for looking at small ones."""
        info = self.tensors[tensor]
        source = self.tensor_source(info)
        array = source.stored_rows(plane, 0, source.rows)
        return array.reshape(info.planes[plane].shape)

    def read_attachment(self, name: str) -> bytes:
        return self._attached[name]


def _moves_rows(derived: Derived) -> bool:
    """A vector's rows are its elements, so its operation is done on the values."""
    return derived.op.rows_only and len(derived.shape) > 1


def _stored(name: str, dtype: str, shape: tuple[int, ...], file: Path) -> Stored:
    from qformat.files.writing import Array

    return Stored(name, dtype, shape, file, 0, Array(name, dtype, shape).nbytes)


class _MovedRows(TensorSource):
    """Rows of one or several tensors in another order."""

    def __init__(self, info: TensorInfo, derived: Derived, sources: list[TensorSource]) -> None:
        self.info = info
        self.rows, self.cols = rows_cols(info.shape)
        self.dtype = sources[0].dtype
        self.kernel = sources[0].kernel
        self._sources = sources
        self._order = derived.op.row_map([s.info.shape for s in sources])
        self._starts = np.cumsum([0, *(s.rows for s in sources)])
        if self._order.size != self.rows or any(s.cols != self.cols for s in sources):
            raise FormatError("its sources do not have the rows that it is made of", tensor=info.name)

    def stored_rows(self, plane: str, start: int, stop: int) -> NDArray[Any]:
        return self._gathered(plane, self._order[start:stop])

    def stored_at(self, plane: str, wanted: NDArray[np.int64]) -> NDArray[Any]:
        return self._gathered(plane, self._order[wanted])

    def _gathered(self, plane: str, wanted: NDArray[np.int64]) -> NDArray[Any]:
        first = self._sources[0].planes[plane]
        out = np.empty((wanted.size, *first.shape[1:]), first.dtype)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for i in np.unique(owner):
            mine = owner == i
            out[mine] = self._sources[i].planes[plane][wanted[mine] - self._starts[i]]
        return out

    def region(self, tile: Tile) -> NDArray[Any]:
        stop = tile.row + tile.rows
        held = {name: self.stored_rows(name, tile.row, stop) for name in self._sources[0].planes}
        return self.values(held, Tile(0, tile.rows, tile.col, tile.cols))


class _Made(TensorSource):
    """Values made by an operation that is not a mere move of rows; kept while they are read."""

    def __init__(self, info: TensorInfo, derived: Derived, sources: list[TensorSource]) -> None:
        arrays = [_whole(s) for s in sources]
        self.info = info
        self.rows, self.cols = rows_cols(info.shape)
        self.dtype = info.dtype
        self.kernel = None
        made = derived.apply(arrays)
        if made.shape != info.shape:
            raise FormatError(f"it would have the shape {list(made.shape)}", tensor=info.name)
        self.planes = {"": as_rows(made, info.shape)}


def _whole(source: TensorSource) -> NDArray[Any]:
    return np.asarray(source.region(Tile(0, source.rows, 0, source.cols))).reshape(source.info.shape)
