"""The table of a sweep: a row for each scheme, the original first."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from qformat.evaluate.by_layer import ByLayer
from qformat.evaluate.quiz_files import Quiz
from qformat.evaluate.result import Protocol
from qformat.evaluate.summary import Alone, Divergence
from qformat.evaluate.sweep_quiz import Quizzed
from qformat.evaluate.sweep_speed import Fast

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """What a scheme costs and what it saves. The original's row has no divergence."""

    scheme: str
    nbytes: int
    bpw: float
    smaller: float  # times, against the original
    alone: Alone
    divergence: Divergence | None = None
    by_layer: ByLayer | None = None
    errors: dict[str, float] | None = None  # relative RMSE by tensor, under canonical names
    quiz: Quizzed | None = None
    answer: str | None = None  # to the prompt
    speed: Fast | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "scheme": self.scheme,
            "bytes": self.nbytes,
            "bits_per_weight": self.bpw,
            "times_smaller": self.smaller,
            **self.alone.to_json(),
            "divergence": self.divergence.to_json() if self.divergence else None,
            "by_layer": self.by_layer.to_json() if self.by_layer else None,
            "quiz": self.quiz.to_json() if self.quiz else None,
            "answer": self.answer,
            "speed": self.speed.to_json() if self.speed else None,
            "relative_rmse": self.errors,
        }


@dataclass(frozen=True)
class Sweep:
    """The table of a sweep, the original first, and how it was measured."""

    original: str
    content: str
    rows: tuple[Row, ...]
    protocol: Protocol
    windows: int
    tokens: int
    seconds: float
    notes: tuple[str, ...]
    prompt: str | None = None
    quiz: Quiz | None = None  # that each model answered
    speed: str | None = None  # the engine that was timed
    complete: bool = True  # unless it was stopped
    every_window: int = 0  # that it was to measure

    @property
    def front(self) -> frozenset[str]:
        """The schemes that none beats in both bits per weight and mean KL divergence."""
        rows = [(r.bpw, r.divergence.kl.mean.value, r.scheme) for r in self.rows if r.divergence]
        return frozenset(
            name
            for bpw, kl, name in rows
            if not any(b <= bpw and k <= kl and (b, k) != (bpw, kl) for b, k, _ in rows)
        )

    def to_json(self) -> dict[str, Any]:
        """The sweep as JSON-ready values."""
        return {
            "schema": SCHEMA,
            "complete": self.complete,
            "original": self.original,
            "content": self.content,
            "rows": [{**r.to_json(), "pareto": r.scheme in self.front} for r in self.rows],
            "speed": self.speed,
            "protocol": self.protocol.to_json(),
            "windows": self.windows,
            "tokens": self.tokens,
            "prompt": self.prompt,
            "quiz": self.quiz.to_json() if self.quiz else None,
            "seconds": self.seconds,
            "versions": {name: version(name) for name in ("jax", "numpy", "qformat")},
            "notes": list(self.notes),
        }
