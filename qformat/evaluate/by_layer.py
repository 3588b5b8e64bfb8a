"""Which layer costs what, by telescoping: quantized up to a layer, original after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qformat.evaluate.heads import Arrays
from qformat.evaluate.statistics import Bootstrap, Estimate
from qformat.evaluate.stream import Route

GRID = 2.0**40  # the steps are rounded to multiples of 1/GRID nats, so that differences and sums are exact


@dataclass(frozen=True)
class Part:
    """What one part of the model adds to the mean KL divergence; it may take away, too."""

    name: str
    kl: Estimate


@dataclass(frozen=True)
class ByLayer:
    """The parts in the order of the model; ``sum(p.kl.value for p in parts) == total``, to the last bit."""

    parts: tuple[Part, ...]
    total: float

    def to_json(self) -> dict[str, Any]:
        return {"total": self.total, "parts": [{"part": p.name, "kl": p.kl.to_json()} for p in self.parts]}


def steps(layers: int, original: int, model: int) -> list[Route]:
    """From the quantized embedding alone to all layers, one more each time; the head is the original's."""
    return [Route(model, (model,) * k + (original,) * (layers - k), original) for k in range(layers + 1)]


def by_layer(stages: Sequence[Arrays], whole: Arrays, bootstrap: Bootstrap) -> ByLayer:
    """Differences of successive mean divergences, ending with the whole model's."""
    names = ["embedding", *(f"layer {k}" for k in range(len(stages) - 1)), "head"]
    means = [np.zeros(1), *(bootstrap.means(s["kl"]) for s in (*stages, whole))]
    snapped = [round(float(m[0]) * GRID) / GRID for m in means]
    parts = []
    for name, i in zip(names, range(1, len(means)), strict=True):
        spread = bootstrap.interval(means[i] - means[i - 1])
        parts.append(Part(name, Estimate(snapped[i] - snapped[i - 1], *spread)))
    return ByLayer(tuple(parts), snapped[-1])
