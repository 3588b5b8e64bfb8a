"""Counts of answers: shares with intervals, and whether two models differ on the same questions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NONE = -1  # no answer
EXACT = 1000  # as many discordant pairs are summed exactly
Answers = NDArray[np.int64]


def wilson(right: int, count: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The interval of a share, 95% by default (Wilson 1927); it stays inside 0 to 1 for few questions too.

    >>> [round(x, 4) for x in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if not count:
        return 0.0, 1.0
    share, square = right / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    # rounding must not put a bound on the wrong side of the share
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def mcnemar(lost: int, gained: int) -> float:
    """The two-sided p-value that as many or more unequal changes are chance (McNemar 1947).

    ``lost`` questions only the original has right, ``gained`` only the other. Exact (binomial with
    1/2) up to `EXACT` changes, else by the chi-squared distribution with continuity correction.

    >>> mcnemar(1, 5)
    0.21875
    """
    count = lost + gained
    if not count:
        return 1.0
    if count <= EXACT:
        tail = sum(math.comb(count, k) for k in range(min(lost, gained) + 1))
        return min(1.0, float(2 * tail / 2**count))
    chi = max(0, abs(lost - gained) - 1) ** 2 / count
    return math.erfc(math.sqrt(chi / 2))


@dataclass(frozen=True)
class Score:
    """How many questions one model has right in one way of asking."""

    right: int
    none: int
    count: int

    @classmethod
    def of(cls, answers: Answers, truth: Answers) -> Score:
        return cls(int((answers == truth).sum()), int((answers == NONE).sum()), len(truth))

    @property
    def wrong(self) -> int:
        return self.count - self.right - self.none

    @property
    def share(self) -> float:
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.count)

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        counts = {"right": self.right, "wrong": self.wrong, "none": self.none, "count": self.count}
        return {**counts, "share": self.share, "low": low, "high": high}


@dataclass(frozen=True)
class Flips:
    """What became of the original's answers. ``changed`` counts other answers, right or wrong."""

    changed: int
    lost: int
    gained: int

    @classmethod
    def of(cls, original: Answers, answers: Answers, truth: Answers) -> Flips:
        was, now = original == truth, answers == truth
        return cls(int((original != answers).sum()), int((was & ~now).sum()), int((now & ~was).sum()))

    @property
    def p(self) -> float:
        return mcnemar(self.lost, self.gained)

    def to_json(self) -> dict[str, Any]:
        return {"changed": self.changed, "lost": self.lost, "gained": self.gained, "p": self.p}
