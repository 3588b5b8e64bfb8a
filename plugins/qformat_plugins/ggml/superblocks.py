"""K-quants' superblocks as planes: codes in the order of the elements, scales and minima as they are coded.

Sections of records in NumPy; `qformat_plugins.ggml.kquants` and ``kquants_low`` draw the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.layout import Affine, Codes, Floats, ScaleMin, Vocabulary

F16 = Floats("F16")
Sections = Mapping[str, NDArray[Any]]
Planes = tuple[Vocabulary, dict[str, NDArray[Any]]]


def spread(section: NDArray[Any], bits: int, chunk: int) -> NDArray[np.uint8]:
    """Bytes ``[n, m]``, chunk by chunk all lowest codes, then those above: ``[n, m * 8 / bits]``."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    chunks = section.reshape(len(section), -1, 1, chunk) >> shifts & np.uint8((1 << bits) - 1)
    return np.asarray(chunks, np.uint8).reshape(len(section), -1)


def signed(codes: NDArray[Any], zero: int) -> NDArray[np.int8]:
    return np.asarray(codes.view(np.int8) - np.int8(zero))


def around_zero(codes: NDArray[np.int8], bits: int, scales: NDArray[np.int8], steps: int, d: Any) -> Planes:
    """Sub-blocks of 16: (d · scale) · code."""
    scale = Affine(Codes(steps, signed=True), F16, block=16)
    layout = Affine(Codes(bits, signed=True), scale, block=16)
    return layout, {"codes": codes, "scales.codes": scales, "scales.scales": d}


def above_minimum(
    codes: NDArray[Any], bits: int, scales: NDArray[Any], mins: NDArray[Any], steps: int, of: Sections
) -> Planes:
    """As many sub-blocks as there are scales: (d · scale) · code − dmin · minimum."""
    count = scales.shape[1]
    coded = Affine(Codes(steps), F16, block=count)
    layout = ScaleMin(Codes(bits), coded, coded, block=256 // count)
    items = {"codes": codes, "scales.codes": scales, "scales.scales": of["d"]}
    return layout, {**items, "mins.codes": mins, "mins.scales": -of["dmin"]}


def eight(codes: NDArray[Any], bits: int, of: Sections) -> Planes:
    """Q4_K and Q5_K, whose scales and minima fill twelve bytes."""
    return above_minimum(codes, bits, *twelve(of["scales"]), 6, of)


def twelve(section: Any) -> tuple[Any, Any]:
    """The 6-bit scales and minima ``[n, 8]`` of twelve bytes, in NumPy or JAX."""
    scale, low, both = (section[:, i : i + 4] for i in (0, 4, 8))
    join = section.__array_namespace__().concat
    scales = join([scale & 63, (both & 15) | (scale >> 6 << 4)], axis=1)
    return scales, join([low & 63, (both >> 4) | (low >> 6 << 4)], axis=1)


def q2_k(of: Sections) -> Planes:
    return above_minimum(spread(of["qs"], 2, 32), 2, of["scales"] & 15, of["scales"] >> 4, 4, of)


def q3_k(of: Sections) -> Planes:
    data = of["scales"]
    scales = signed(spread(data[:, :8], 4, 8) | spread(data[:, 8:], 2, 4) << 4, 32)
    codes = spread(of["qs"], 2, 32) | spread(of["hmask"], 1, 32) << 2
    return around_zero(signed(codes, 4), 3, scales, 6, of["d"])


def q4_k(of: Sections) -> Planes:
    return eight(spread(of["qs"], 4, 32), 4, of)


def q5_k(of: Sections) -> Planes:
    return eight(spread(of["qs"], 4, 32) | spread(of["qh"], 1, 32) << 4, 5, of)


def q6_k(of: Sections) -> Planes:
    codes = spread(of["ql"], 4, 64) | spread(of["qh"], 2, 32) << 4
    return around_zero(signed(codes, 32), 6, of["scales"], 8, of["d"])
