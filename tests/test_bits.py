"""Packing against an independent oracle: NumPy's own bit unpacking."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qformat.blocks import bits


def oracle(codes: np.ndarray, width: int) -> bytes:
    """All bits of a row, least significant first, filled up to whole bytes."""
    stream = [(int(c) >> i) & 1 for c in codes for i in range(width)]
    return np.packbits(np.array(stream, np.uint8), bitorder="little").tobytes()


@given(st.integers(1, 8), st.booleans(), st.lists(st.integers(-128, 255), max_size=70))
def test_rows_pack_densely_and_come_back(width, signed, raw):
    low, high = bits.code_range(width, signed=signed)
    codes = np.array([low + r % (high - low + 1) for r in raw], np.int8 if signed else np.uint8)
    packed = bits.pack(codes, width)
    assert packed.tobytes() == oracle(codes, width)
    assert bits.unpack(packed, width, len(raw), signed=signed).tolist() == codes.tolist()


@given(st.integers(1, 8), st.integers(0, 40), st.integers(0, 5))
def test_rows_are_packed_one_by_one(width, count, rows):
    codes = np.random.default_rng(count).integers(0, 1 << width, (rows, count)).astype(np.uint8)
    packed = bits.pack(codes, width)
    assert packed.shape == (rows, -(-count * width // 8))
    assert all(packed[i].tobytes() == oracle(codes[i], width) for i in range(rows))


def test_signed_codes_are_twos_complement_lsb_first():
    assert bits.pack(np.array([-1, 1, -8, 7], np.int8), 4).tobytes() == bytes([0x1F, 0x78])
    assert bits.pack(np.array([1, 2, 3, 0, 1], np.uint8), 2).tobytes() == bytes([0b00111001, 0b01])
    assert bits.pack(np.array([5, 1, 2], np.uint8), 3).tobytes() == bytes([0b10001101, 0b0])
