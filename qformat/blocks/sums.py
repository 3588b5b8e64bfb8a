"""What error figures are made of: sums over pairs of original and decoded values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sums:
    """What error figures are made of, over one or many tiles."""

    value2: float = 0.0  # sum of v*v
    decoded2: float = 0.0  # sum of d*d
    product: float = 0.0  # sum of v*d
    error2: float = 0.0  # sum of (v-d)**2
    worst: float = 0.0  # max |v-d|

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.value2 + other.value2,
            self.decoded2 + other.decoded2,
            self.product + other.product,
            self.error2 + other.error2,
            float(np.maximum(self.worst, other.worst)),  # NaN stays
        )


def measure(values: NDArray[Any], decoded: NDArray[Any]) -> Sums:
    """The sums over two arrays of the same shape, in float64.

    Equal infinities, and NaN beside NaN, are no error; what is not finite counts in no other sum.
    """
    v, d = np.asarray(values, np.float64).reshape(-1), np.asarray(decoded, np.float64).reshape(-1)
    with np.errstate(invalid="ignore"):
        e = v - d
    if not np.isfinite(e).all():
        e[(v == d) | (np.isnan(v) & np.isnan(d))] = 0
        known = np.isfinite(v) & np.isfinite(d)
        v, d = v[known], d[known]
    worst = float(np.abs(e).max(initial=0))
    return Sums(float(v @ v), float(d @ d), float(v @ d), float(e @ e), worst)
