"""SHA-256 over mapped arrays, a piece at a time."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 8 << 20  # bytes copied or hashed at a time


def byte_view(array: NDArray[Any]) -> NDArray[np.uint8]:
    """An array's bytes, without a copy."""
    return array.reshape(-1).view(np.uint8)


def digest(data: NDArray[np.uint8]) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    found = hashlib.sha256()
    for start in range(0, data.size, CHUNK):
        found.update(data[start : start + CHUNK].data)
    return found.hexdigest()
