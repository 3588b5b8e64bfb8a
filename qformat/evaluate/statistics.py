"""From tokens to figures: means with bootstrap intervals over windows, and percentiles.

Tokens of one window are not independent, so windows are what is drawn anew: each replicate draws as
many windows as there are, with replacement, and all figures of a replicate use the same draw. So
differences and ratios of two models are paired. The interval is the central 95% of the replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
LEVEL = 0.95
PERCENTILES = (99.9, 99, 95, 90, 75, 50, 25, 10, 5, 1)
FEW_WINDOWS = 10
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; no interval where there is but one window."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float | None:
        """Half of the interval's width: what stands behind ±."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def relative(self) -> float:
        """Half of the interval's width as a share of the figure; infinite if unknown."""
        if self.half is None:
            return math.inf
        return self.half / abs(self.value) if self.value else (0.0 if self.half == 0 else math.inf)

    def to_json(self) -> dict[str, float | None]:
        return {"value": finite(self.value), "low": finite(self.low), "high": finite(self.high)}


def finite(value: float | None) -> float | None:
    """A number that JSON can hold."""
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Spread:
    """How a per-token figure is distributed: mean with interval, extremes, percentiles."""

    mean: Estimate
    low: float
    high: float
    percentiles: dict[float, float]

    @property
    def median(self) -> float:
        return self.percentiles[50]

    def to_json(self) -> dict[str, Any]:
        return {
            "mean": self.mean.to_json(),
            "median": self.median,
            "min": self.low,
            "max": self.high,
            "percentiles": {f"{k:g}": v for k, v in self.percentiles.items()},
        }


class Bootstrap:
    """Replicates over windows, the same for every figure.

    ``window`` gives each token's window; sums of tokens by window are all that a replicate needs.
    """

    def __init__(self, window: NDArray[np.int64], *, seed: int = 0, replicates: int = REPLICATES) -> None:
        _, self._window = np.unique(window, return_inverse=True)
        self.windows = int(self._window.max()) + 1 if len(window) else 0
        rng = np.random.default_rng(seed)
        self._draws = rng.multinomial(self.windows, np.full(self.windows, 1 / self.windows), replicates)
        self._tokens = self._sums(np.ones(len(window)))

    def _sums(self, values: NDArray[Any]) -> Floats:
        sums = np.bincount(self._window, values.astype(np.float64), self.windows)
        return sums.astype(np.float64)

    def means(self, values: NDArray[Any]) -> Floats:
        """The mean of a per-token figure over all tokens, and after it that of each replicate."""
        sums = self._sums(values)
        first = sums.sum() / self._tokens.sum()
        return np.concatenate([[first], (self._draws @ sums) / (self._draws @ self._tokens)])

    def estimate(self, function: Callable[..., Floats], *values: NDArray[Any]) -> Estimate:
        """A function of means (elementwise over replicates), with its interval."""
        with np.errstate(over="ignore"):
            found = function(*(self.means(v) for v in values))
        return Estimate(float(found[0]), *self.interval(found))

    def interval(self, found: Floats) -> tuple[float | None, float | None]:
        """The interval of a figure and its replicates."""
        if self.windows < 2:
            return None, None
        low, high = np.quantile(found[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def mean(self, values: NDArray[Any]) -> Estimate:
        """The mean of a per-token figure."""
        return self.estimate(lambda m: m, values)

    def spread(self, values: NDArray[Any]) -> Spread:
        """The distribution of a per-token figure."""
        wide = values.astype(np.float64)
        found = np.percentile(wide, PERCENTILES)
        percentiles = dict(zip(PERCENTILES, map(float, found), strict=True))
        return Spread(self.mean(wide), float(wide.min()), float(wide.max()), percentiles)
