"""Choosing the next token from its logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qformat.errors import QFormatError


@dataclass(frozen=True)
class Sampling:
    """What may come next, and how evenly. The cuts come first, in this order; then the temperature.

    ``temperature`` 0 always takes the likeliest. ``top_k`` keeps so many (0: all), ``top_p`` the likeliest
    that together reach this probability, ``min_p`` those at least this part as likely as the likeliest.

    Raises
    ------
    QFormatError
        For a number outside its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        ranges = {
            "temperature": (0 <= self.temperature < np.inf, "a number from 0 on"),
            "top_k": (self.top_k >= 0, "a whole number from 0 on; 0 keeps all"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "from 0 to 1"),
        }
        for name, (fits, what) in ranges.items():
            if not fits:
                raise QFormatError(f"{name} cannot be {getattr(self, name)}", hint=f"it is {what}")

    def choose(self, logits: NDArray[np.float32], random: np.random.Generator) -> int:
        """The next token, from logits ``[vocabulary]``."""
        if self.temperature == 0:
            return int(logits.argmax())
        tokens = self.kept(logits)
        weights = _softmax(logits[tokens].astype(np.float64) / self.temperature)
        spot = int(np.searchsorted(np.cumsum(weights), random.random(), side="right"))
        return int(tokens[min(spot, tokens.size - 1)])

    def kept(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """The tokens that may come next, the likeliest first; equal ones in the order of their numbers."""
        tokens = np.argsort(-logits, kind="stable")
        if self.top_k:
            tokens = tokens[: self.top_k]
        chances = _softmax(logits[tokens].astype(np.float64))
        before = np.cumsum(chances) - chances
        kept: NDArray[np.int64] = tokens[(before < self.top_p) & (chances >= self.min_p * chances[0])]
        return kept


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max())
    chances: NDArray[np.float64] = weights / weights.sum()
    return chances
