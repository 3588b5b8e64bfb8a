"""Codes of 1 to 8 bits, packed densely, least significant bit first.

Code ``i`` of a row occupies the bits ``i*b … i*b + b - 1`` of the row's bytes, where bit ``k``
is bit ``k % 8`` of byte ``k // 8``. Signed codes are two's complement in ``b`` bits. A row
starts on a byte; the unused high bits of its last byte are zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.dtypes import packed_bytes


def code_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """The smallest and largest code.

    >>> code_range(4, signed=True), code_range(4, signed=False)
    ((-8, 7), (0, 15))
    """
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def pack(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Pack integer codes ``[..., n]`` into bytes ``[..., ceil(n * bits / 8)]``.

    Only the low ``bits`` bits of each code are used, so signed and unsigned codes both fit.

    >>> pack(np.array([1, 2, 3]), 4).tolist()
    [33, 3]
    """
    *lead, n = codes.shape
    mask = np.uint8((1 << bits) - 1)
    low = codes.astype(np.uint8, copy=False) if codes.dtype != np.int8 else codes.view(np.uint8)
    low = low & mask
    if bits == 8:
        return low
    if bits in (2, 4) and n % 8 == 0:
        return _fold(np.ascontiguousarray(low), bits)
    groups = -(-n // 8)
    if n % 8:
        low = np.concatenate([low, np.zeros((*lead, groups * 8 - n), np.uint8)], axis=-1)
    low = low.reshape(*lead, groups, 8)
    word = np.zeros((*lead, groups), np.uint64)
    for i in range(8):
        word |= low[..., i].astype(np.uint64) << np.uint64(i * bits)
    out = word.astype("<u8")[..., None].view(np.uint8)[..., :bits]
    return np.ascontiguousarray(out.reshape(*lead, groups * bits)[..., : packed_bytes(n, bits)])


def _fold(low: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes that fill bytes evenly: neighbours are joined inside 16- or 32-bit words."""
    words: NDArray[Any] = low.view("<u2" if bits == 4 else "<u4")
    joined: NDArray[Any] = words | (words >> (8 - bits))
    if bits == 2:
        joined = joined | (joined >> 12)
    return joined.astype(np.uint8)


def unpack(data: NDArray[np.uint8], bits: int, count: int, *, signed: bool) -> NDArray[Any]:
    """Unpack bytes ``[..., m]`` into ``count`` codes ``[..., count]``, int8 if signed, else uint8.

    >>> unpack(np.array([0x2f, 0x01], np.uint8), 4, 3, signed=True).tolist()
    [-1, 2, 1]
    """
    *lead, size = data.shape
    if bits == 8:
        codes = np.ascontiguousarray(data[..., :count])
        return codes.view(np.int8) if signed else codes
    groups = -(-count // 8)
    full = np.zeros((*lead, groups, 8), np.uint8)
    padded = np.zeros((*lead, groups * bits), np.uint8)
    padded[..., :size] = data[..., : groups * bits]
    full[..., :bits] = padded.reshape(*lead, groups, bits)
    word = full.view("<u8")
    shifts = (np.arange(8, dtype=np.uint64) * np.uint64(bits)).reshape(*(1,) * (len(lead) + 1), 8)
    codes = ((word >> shifts) & np.uint64((1 << bits) - 1)).astype(np.uint8)
    codes = codes.reshape(*lead, groups * 8)[..., :count]
    sign = np.uint8(1 << bits - 1)
    result: NDArray[Any] = ((codes ^ sign) - sign).view(np.int8) if signed else codes
    return result
