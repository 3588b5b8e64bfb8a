"""Buffers that a thread uses again and again, on boundaries that JAX takes without a copy."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGN = 64

_local = threading.local()


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros on a 64-byte boundary."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + ALIGN, np.uint8)
    start = -memory.ctypes.data % ALIGN
    found: NDArray[Any] = memory[start : start + size].view(dtype).reshape(shape)
    return found


def scratch(purpose: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """This thread's buffer for a purpose."""
    buffers: dict[Any, NDArray[Any]] = _local.__dict__.setdefault("buffers", {})
    key = (purpose, shape, np.dtype(dtype))
    if key not in buffers:
        buffers[key] = aligned(shape, dtype)
    return buffers[key]
