"""Matrices that stay quantized in memory and are decoded inside the product with one row.

Codes lie so that those of all outputs for one input are side by side, block by block::

    codes    [blocks, block, outputs]      one byte each, or
             [blocks, block / 2, outputs]  code j in the low half, j + block / 2 in the high half
    scales   [blocks, outputs]             as the file has them
    mins     [blocks, outputs]             or none

A step of the product goes over one block for all outputs: long loops over neighbours in memory, which
is the form that XLA's CPU backend makes fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from qformat.blocks import bits as packing
from qformat.blocks.equivalent import from_records
from qformat.blocks.layout import Affine, Codes, Floats, Layout, RawBlocks, ScaleMin, Vocabulary, planes
from qformat.model.layout import Order
from qformat.schemes.coder import plane_rows
from qformat.schemes.registry import registry
from qformat.views.source import TensorSource


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Packed:
    """A matrix ``[outputs, inputs]`` of scale · (code − offset) + min."""

    codes: Any
    scales: Any
    mins: Any
    halves: bool = field(metadata={"static": True})
    offset: int = field(metadata={"static": True})

    @property
    def form(self) -> tuple[Any, ...]:
        """What matrices must have in common to be joined."""
        return self.codes.shape[:2], self.scales.dtype, self.mins is None, self.halves, self.offset

    @property
    def nbytes(self) -> int:
        return int(self.codes.nbytes + self.scales.nbytes + (0 if self.mins is None else self.mins.nbytes))


def times(row: Any, weight: Packed) -> Any:
    """A row ``[inputs]`` times the matrix: float32 ``[outputs]``."""
    blocks, held, outputs = weight.codes.shape
    x = row.reshape(blocks, 2 if weight.halves else 1, held)

    def step(total: Any, of: tuple[Any, ...]) -> tuple[Any, None]:
        codes, scales, mins, x = of
        found = jnp.zeros(outputs, jnp.float32)
        for j in range(held):
            if weight.halves:
                found += _float(codes[j] & 15) * x[0, j] + _float(codes[j] >> 4) * x[1, j]
            else:
                found += _float(codes[j]) * x[0, j]
        sums = jnp.sum(x)
        total += (found - weight.offset * sums) * scales.astype(jnp.float32)
        return (total if mins is None else total + sums * mins.astype(jnp.float32)), None

    start = jnp.zeros(outputs, jnp.float32)
    return lax.scan(step, start, (weight.codes, weight.scales, weight.mins, x))[0]


def _float(codes: Any) -> Any:
    return codes.astype(jnp.int32).astype(jnp.float32)


def joined(parts: list[Packed]) -> Packed:
    """Matrices with the same inputs as one, their outputs one after the other."""
    first = parts[0]
    mins = None if first.mins is None else np.concatenate([p.mins for p in parts], axis=1)
    codes = np.concatenate([p.codes for p in parts], axis=2)
    scales = np.concatenate([p.scales for p in parts], axis=1)
    return Packed(codes, scales, mins, first.halves, first.offset)


def packed(source: TensorSource, order: Order | None) -> Packed | None:
    """A quantized matrix with its codes as they are; None if it is not of such a form."""
    found = _planes(source)
    if found is None:
        return None
    layout, stored = found
    if order is not None:
        stored = {name: array[order] for name, array in stored.items()}
    codes = packing.unpack(stored["codes"], layout.codes.bits, source.cols, signed=layout.codes.signed)
    halves = layout.codes.bits <= 4
    offset = 1 << (layout.codes.bits - 1) if layout.codes.signed and halves else 0
    kind = np.uint8 if halves or not layout.codes.signed else np.int8
    blocks = (
        (codes.astype(np.int16) + offset)
        .astype(kind)
        .reshape(source.rows, -1, layout.block)
        .transpose(1, 2, 0)
    )
    if halves:
        half = layout.block // 2
        blocks = blocks[:, :half] | blocks[:, half:] << np.uint8(4)
    mins = _mins(layout, stored, source.cols)
    scales = np.ascontiguousarray(stored["scales"].T)
    return Packed(np.ascontiguousarray(blocks), scales, mins, halves, offset)


def _planes(source: TensorSource) -> tuple[Affine | ScaleMin, dict[str, NDArray[Any]]] | None:
    """The planes of a matrix as rows, of raw blocks those that mean the same."""
    record = source.info.scheme
    if record is None:
        return None
    layout: Layout | None = record.layout
    stored = {name: source.stored_rows(name, 0, source.rows) for name in source.plane_names}
    if isinstance(layout, RawBlocks):
        scheme = registry().for_record(record)
        same, raw = scheme.equivalent(), scheme.layout()
        if same is None or not isinstance(raw, RawBlocks):
            return None
        layout = same.layout
        data = from_records(same, raw, layout, stored["blocks"])
        stored = {p.name: plane_rows(p, data[p.name], source.rows, source.cols) for p in planes(layout)}
    return (layout, stored) if _is_linear(layout, source.cols) else None  # type: ignore[return-value]


def _is_linear(layout: Vocabulary | None, cols: int) -> bool:
    if not isinstance(layout, Affine | ScaleMin) or cols % layout.block or layout.block % 2:
        return False
    floats = [layout.scale, layout.min] if isinstance(layout, ScaleMin) else [layout.scale]
    zero = layout.zero_point if isinstance(layout, Affine) else None
    return all(isinstance(part, Floats) for part in floats) and not isinstance(zero, Vocabulary)


def _mins(layout: Affine | ScaleMin, stored: dict[str, NDArray[Any]], cols: int) -> Any:
    if isinstance(layout, ScaleMin):
        return np.ascontiguousarray(stored["mins"].T)
    if layout.zero_point is None:
        return None
    zeros = stored["zero_points"]
    if isinstance(kind := layout.zero_point, Codes):
        zeros = packing.unpack(zeros, kind.bits, cols // layout.block, signed=kind.signed)
    return np.ascontiguousarray((-stored["scales"].astype(np.float32) * zeros.astype(np.float32)).T)
