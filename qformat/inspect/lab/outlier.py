"""What one value of a block does to the others: they share a scale that the largest decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.sums import measure
from qformat.convert.figures import Figures
from qformat.errors import QFormatError
from qformat.inspect.lab.mapping import round_trip, scheme_for

STEPS = 33


@dataclass(frozen=True)
class Effect:
    """The others' error when one value is ``value``; ``used`` levels remain to them."""

    value: float
    figures: Figures
    used: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"value": self.value, "levels_used": self.used, "error": self.figures.numbers()}


def replaced(block: NDArray[np.float32], at: int, value: float) -> NDArray[np.float32]:
    """The block with another value at one place.

    Raises
    ------
    QFormatError
        If it has no such place.
    """
    if not 0 <= at < block.size:
        raise QFormatError(f"the block has values 0 to {block.size - 1}; not {at}")
    out = block.copy()
    with np.errstate(over="ignore"):
        out[at] = value
    return out


def outlier_values(block: NDArray[np.float32], at: int, count: int = STEPS) -> list[float]:
    """Values for one place from zero to 32 times the largest of the others, in even ratios after zero."""
    others = np.delete(np.abs(block), at)
    top = float(others.max(initial=0)) or 1.0
    sign = math.copysign(1, float(block[at]))
    return [0.0, *(float(np.float32(sign * top * r)) for r in np.geomspace(1 / 32, 32, count - 1))]


def outlier_effect(
    block: NDArray[np.float32],
    at: int,
    spec: str,
    values: Sequence[float] | None = None,
    size: int | None = None,
) -> list[Effect]:
    """The error of a block's other values for each of some values at place ``at``.

    Raises
    ------
    QFormatError
        If the block has no such place, or none beside it; for a scheme that there is not; for values
        that it cannot hold.
    """
    replaced(block, at, 0)
    if block.size < 2:
        raise QFormatError("the block has no other values")
    wanted = outlier_values(block, at) if values is None else list(values)
    rows = np.stack([replaced(block, at, v) for v in wanted])
    _, decoded = round_trip(scheme_for(spec, size or block.size), rows)
    kept = np.delete(block, at)
    others = np.delete(decoded, at, axis=1)
    return [
        Effect(float(value), Figures.of(measure(kept, row)), np.unique(row).size)
        for value, row in zip(wanted, others, strict=True)
    ]
