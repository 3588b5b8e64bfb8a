"""The declared fields of raw blocks, taken out of many records at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.layout import Field


def field_values(field: Field, records: NDArray[np.uint8]) -> NDArray[Any]:
    """The items ``[n, count]`` of a field in records ``[n, size]``.

    Integers are int64, floats of their own type.

    >>> nibbles = Field("low", 0, 4, 2, step=8)
    >>> field_values(nibbles, np.array([[0x21, 0x43]], np.uint8)).tolist()
    [[1, 3]]
    """
    bits = np.array([field.bit(i) for i in range(field.count)])
    first, shift = bits >> 3, bits & 7
    width = -(-(int(shift.max()) + field.bits) // 8)
    word: NDArray[Any] = np.zeros((records.shape[0], field.count), np.uint64)
    for i in range(width):
        at = np.minimum(first + i, records.shape[1] - 1)  # bytes past a last field are masked off below
        word |= records[:, at].astype(np.uint64) << np.uint64(8 * i)
    word = (word >> shift.astype(np.uint64)) & np.uint64((1 << field.bits) - 1)
    if field.kind == "uint":
        return word.astype(np.int64)
    if field.kind == "int":
        sign = 1 << field.bits - 1
        return (word.astype(np.int64) ^ sign) - sign
    return word.astype(f"<u{field.bits // 8}").view(dtypes.numpy_dtype(field.kind))
