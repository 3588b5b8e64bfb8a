"""The element types of tensors, under the names that safetensors gives them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from qformat.errors import FormatError

if TYPE_CHECKING:
    import numpy as np

# name -> (bits per element, NumPy or ml_dtypes name; None: bytes are kept but not computed with)
_TABLE: dict[str, tuple[int, str | None]] = {
    "BOOL": (8, "bool"),
    "U8": (8, "uint8"),
    "I8": (8, "int8"),
    "U16": (16, "uint16"),
    "I16": (16, "int16"),
    "U32": (32, "uint32"),
    "I32": (32, "int32"),
    "U64": (64, "uint64"),
    "I64": (64, "int64"),
    "F64": (64, "float64"),
    "F32": (32, "float32"),
    "F16": (16, "float16"),
    "BF16": (16, "bfloat16"),
    "F8_E4M3": (8, "float8_e4m3fn"),
    "F8_E5M2": (8, "float8_e5m2"),
    "F8_E8M0": (8, "float8_e8m0fnu"),
    "F8_E4M3FNUZ": (8, "float8_e4m3fnuz"),
    "F8_E5M2FNUZ": (8, "float8_e5m2fnuz"),
    "F6_E2M3": (6, None),
    "F6_E3M2": (6, None),
    "F4": (4, None),
    "C64": (64, "complex64"),
}

FLOATS = frozenset(name for name in _TABLE if name.startswith(("F", "BF")) and _TABLE[name][1])
INTEGERS = frozenset(("U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"))
NAMES = frozenset(_TABLE)


def bits(dtype: str) -> int:
    """Bits of one element of ``dtype``."""
    return _TABLE[dtype][0]


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of ``count`` items of ``bits`` bits, densely packed; a last partial byte counts whole."""
    return -(-count * bits // 8)


def nbytes(dtype: str, count: int) -> int:
    """Bytes of ``count`` elements, densely packed."""
    return packed_bytes(count, bits(dtype))


@functools.cache
def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The little-endian NumPy type for ``dtype``.

    Raises
    ------
    FormatError
        If NumPy and ml_dtypes have no such type (sub-byte floats).
    """
    import numpy as np

    name = _TABLE[dtype][1]
    if name is None:
        raise FormatError(f"values of type {dtype} can be copied but not computed with")
    if hasattr(np, name):
        return np.dtype(name).newbyteorder("<")
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return found


def is_quantizable(dtype: str) -> bool:
    """Whether a scheme can encode values of this type: real numbers, of any width."""
    return dtype in FLOATS or dtype in INTEGERS
