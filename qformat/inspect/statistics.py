"""Statistics over all values of a tensor, in bounded memory. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.layout import rows_cols
from qformat.blocks.tiles import Tile, tiles
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.values import values

BINS = 32
NEAR = 0.5
FAR = 6.0  # standard deviations from the mean, beyond which a value is an outlier
_REGION = (1024, 512)  # blocks of 1024, 512 of them

Progress = Callable[[int], None]  # values read since the last call


@dataclass(frozen=True)
class Statistics:
    """Over the finite values of a tensor; bins are of equal width from ``low`` to ``high``.

    ``near`` counts values within ±0.5, ``outliers`` those more than 6 standard deviations from
    the mean.
    """

    count: int
    low: float
    high: float
    mean: float
    std: float
    zeros: int
    near: int
    outliers: int
    not_finite: int
    histogram: tuple[int, ...]

    @property
    def finite(self) -> int:
        return self.count - self.not_finite

    @property
    def width(self) -> float:
        """Of a bin."""
        return (self.high - self.low) / BINS

    def middle(self, i: int) -> float:
        """The value in the middle of bin ``i``."""
        return self.low + (i + 0.5) * self.width

    def is_far(self, i: int) -> bool:
        """Whether all of bin ``i`` is beyond 6 standard deviations from the mean."""
        nearest = max(abs(self.middle(i) - self.mean) - self.width / 2, 0.0)
        return nearest > FAR * self.std

    def facts(self) -> list[tuple[str, str]]:
        """Names and values as people read them."""
        found = [
            ("values", f"{self.count:,}"),
            ("range", f"{self.low:.6g} to {self.high:.6g}"),
            ("mean", f"{self.mean:.4g}"),
            ("standard deviation", f"{self.std:.4g}"),
            ("zeros", f"{self.zeros:,}"),
            (f"within ±{NEAR}", f"{self.near / self.finite:.4%}" if self.finite else "-"),
            (f"beyond {FAR:g} deviations", f"{self.outliers:,}"),
        ]
        return [*found, ("NaN or infinite", f"{self.not_finite:,}")] if self.not_finite else found


def _regions(
    checkpoint: Checkpoint, info: TensorInfo, progress: Progress | None
) -> Iterator[NDArray[np.float64]]:
    rows, cols = rows_cols(info.shape)
    for tile in tiles(rows, cols, *_REGION):
        yield _region(checkpoint, info, tile)
        if progress:
            progress(tile.rows * tile.cols)


def _region(checkpoint: Checkpoint, info: TensorInfo, tile: Tile) -> NDArray[Any]:
    return values(checkpoint, info, tile).astype(np.float64).reshape(-1)


def statistics(checkpoint: Checkpoint, info: TensorInfo, progress: Progress | None = None) -> Statistics:
    """Statistics of a tensor in two passes; ``progress`` is told of both.

    Raises
    ------
    QFormatError
        If its values are no numbers.
    """
    if not dtypes.is_quantizable(info.dtype):
        raise QFormatError(f"values of type {info.dtype} have no statistics", tensor=info.name)
    count = zeros = odd = near = 0
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for part in _regions(checkpoint, info, progress):
        finite = part[np.isfinite(part)]
        odd += part.size - finite.size
        count += part.size
        zeros += int(np.count_nonzero(part == 0))
        near += int(np.count_nonzero(np.abs(finite) <= NEAR))
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total += float(finite.sum())
            squares += float(finite @ finite)
    good = count - odd
    if not good:
        nan = math.nan
        return Statistics(count, nan, nan, nan, nan, zeros, 0, 0, odd, (0,) * BINS)
    mean = total / good
    std = math.sqrt(max(squares / good - mean * mean, 0))
    counts, far = np.zeros(BINS, np.int64), 0
    span = (low, high) if high > low else (low - 0.5, low + 0.5)
    for part in _regions(checkpoint, info, progress):
        finite = part[np.isfinite(part)]
        counts += np.histogram(finite, BINS, span)[0]
        far += int(np.count_nonzero(np.abs(finite - mean) > FAR * std))
    histogram = tuple(int(c) for c in counts)
    return Statistics(count, low, high, mean, std, zeros, near, far, odd, histogram)
