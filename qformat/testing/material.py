"""What the kit feeds to schemes: the same numbers on every machine, and digests of what comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.layout import Codes, Field, Floats, Plane, RawBlocks, rows_cols
from qformat.schemes.coder import Encoded, decode, encode, encode_tile, plane_rows
from qformat.schemes.kernels import kernel
from qformat.schemes.scheme import Scheme

# Shapes as checkpoints have them, and as they should not: scalars, vectors, odd rows, empty ones.
SHAPES = ((), (1,), (7,), (3, 1), (5, 33), (2, 3, 64), (4, 0), (0, 4), (2, 1, 301))
STORED = (1.0, -0.5, 0.25, 2.0, 0.0625, -1.5)  # floats that every float type of a plane holds exactly


def weights(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Normally distributed numbers of a trained layer's size, with a few outliers."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * 0.02
    return np.asarray(np.where(rng.random(shape) < 0.002, values * 6, values), np.float32)


def importance(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Importance of elements: positive, over two orders of magnitude."""
    return np.asarray(np.exp(np.random.default_rng(seed).uniform(-3, 2, shape)), np.float32)


def staircase(count: int) -> NDArray[np.float32]:
    """Numbers from -2 to 2 in an order without pattern, all exact in any float type."""
    steps = (np.arange(count, dtype=np.int64) * 37 + 11) % 65 - 32
    return np.asarray(steps / 16, np.float32)


def back(scheme: Scheme, values: NDArray[Any], **how: Any) -> tuple[Encoded, NDArray[np.float32]]:
    """What a scheme makes of values: the planes, and the values that they decode to."""
    done = encode(scheme, values, **how)
    return done, decode(scheme, done.planes, values.shape)


def weighted(
    scheme: Scheme, values: NDArray[np.float32], importances: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Values ``[rows, cols]`` of one tile, encoded by their importance and decoded."""
    stored, _ = encode_tile(kernel(scheme), values, "F32", weights=importances)
    return decode(scheme, stored, values.shape)


def rows_of(planes: tuple[Plane, ...], stored: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Stored planes as `decode_rows` takes them."""
    rows, cols = rows_cols(shape)
    return {p.name: plane_rows(p, stored[p.name], rows, cols) for p in planes}


def relative(values: NDArray[Any], decoded: NDArray[Any]) -> float:
    """The relative root mean square error."""
    exact = np.asarray(values, np.float64)
    return float(np.sqrt(((exact - decoded) ** 2).sum() / (exact**2).sum()))


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Sixteen digits that stand for named arrays."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(name.encode() + b"\0" + np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()[:16]


def synthetic(scheme: Scheme, blocks: int) -> dict[str, NDArray[np.uint8]]:
    """Planes of ``blocks`` blocks that no encoder made: all codes occur, floats are simple."""
    kern = kernel(scheme)
    return {p.name: _bytes_of(p, blocks * kern.block) for p in kern.planes}


def _bytes_of(plane: Plane, cols: int) -> NDArray[np.uint8]:
    item = plane.item
    if isinstance(item, Floats):
        numbers = np.resize(np.asarray(STORED), plane.count(cols)).astype(dtypes.numpy_dtype(item.dtype))
        return numbers.view(np.uint8)
    noise = np.random.default_rng(7).integers(0, 256, plane.row_bytes(cols), dtype=np.uint8)
    if isinstance(item, Codes):
        return _without_spare_bits(noise, plane.count(cols) * item.bits)
    records = noise.reshape(-1, item.size)
    for field in item.fields:
        _simple_floats(records, field)
    return records.reshape(-1)


def _without_spare_bits(data: NDArray[np.uint8], used: int) -> NDArray[np.uint8]:
    if used % 8:
        data[-1] &= (1 << used % 8) - 1
    return data


def _simple_floats(records: NDArray[np.uint8], field: Field) -> None:
    if field.kind in ("uint", "int") or field.at % 8:
        return
    numbers = np.resize(np.asarray(STORED), field.count).astype(dtypes.numpy_dtype(field.kind))
    start = field.at // 8
    records[:, start : start + field.count * field.bits // 8] = numbers.view(np.uint8)


def raw_bits(layout: RawBlocks) -> list[int]:
    """Every bit that the fields of a raw block claim, in order."""
    return sorted(f.bit(i) + k for f in layout.fields for i in range(f.count) for k in range(f.bits))
