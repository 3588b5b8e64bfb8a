"""Error figures of a tensor: how far the decoded values lie from the original ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qformat.blocks.sums import Sums


@dataclass(frozen=True)
class Figures:
    """Relative RMSE, signal to noise in dB, largest absolute error, cosine similarity."""

    rmse: float
    snr: float
    max: float
    cosine: float

    @classmethod
    def of(cls, sums: Sums) -> Figures:
        """Figures from sums over v (original) and d (decoded).

        rmse = sqrt(Σ(v-d)² / Σv²), snr = 10 log10(Σv² / Σ(v-d)²), cosine = Σvd / sqrt(Σv² Σd²).
        Exact copies have rmse 0, snr infinite, cosine 1.
        """
        if sums.error2 == 0:
            return cls(0.0, math.inf, sums.worst, 1.0)
        ratio = sums.error2 / sums.value2 if sums.value2 else math.inf
        norm = math.sqrt(sums.value2) * math.sqrt(sums.decoded2)
        if math.isnan(ratio):
            return cls(math.nan, math.nan, sums.worst, math.nan)
        snr = -10 * math.log10(ratio) if 0 < ratio < math.inf else math.copysign(math.inf, -ratio)
        return cls(math.sqrt(ratio), snr, sums.worst, sums.product / norm if norm else 0.0)

    def to_json(self) -> dict[str, str]:
        """As files hold them: decimal strings, rounded so that they do not hang on summation order."""
        return {
            "rmse": f"{self.rmse:.3e}",
            "snr": f"{self.snr:.2f}",
            "max": f"{self.max:.3e}",
            "cosine": f"{self.cosine:.6f}",
        }

    def numbers(self) -> dict[str, float | None]:
        """For JSON output: an infinite ratio is null."""
        return {
            "relative_rmse": self.rmse,
            "snr_db": self.snr if math.isfinite(self.snr) else None,
            "max_error": self.max,
            "cosine": self.cosine,
        }

    @staticmethod
    def placeholder() -> dict[str, str]:
        """At least as long as any figures in a file."""
        return dict.fromkeys(("rmse", "snr", "max", "cosine"), "-0.000e-000")
