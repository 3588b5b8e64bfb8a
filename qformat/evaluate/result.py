"""What a measurement found, with everything that is needed to repeat it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from qformat.evaluate.by_layer import ByLayer
from qformat.evaluate.engine import Tokens
from qformat.evaluate.heads import Arrays
from qformat.evaluate.statistics import FEW_WINDOWS, LEVEL, REPLICATES, Bootstrap, Spread
from qformat.evaluate.summary import Alone, Divergence

SCHEMA = 1


@dataclass(frozen=True)
class Measured:
    """One of the models: which it is, and what it makes of the text."""

    path: str
    format: str
    family: str
    nbytes: int
    bpw: float
    content: str  # digest
    alone: Alone

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "format": self.format,
            "family": self.family,
            "bytes": self.nbytes,
            "bits_per_weight": self.bpw,
            "content": self.content,
            **self.alone.to_json(),
        }


@dataclass(frozen=True)
class Protocol:
    """How the text was read: what must be the same for two results to be compared."""

    name: str
    ctx: int
    stride: int | None
    bos: int | None
    dtype: str
    seed: int
    text: str
    text_digest: str
    token_digest: str
    text_tokens: int
    windows: int
    vocabulary: int

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "interval": LEVEL, "replicates": REPLICATES}


@dataclass(frozen=True)
class PositionRow:
    """Means over the tokens at some positions of their windows, first and last included."""

    first: int
    last: int
    tokens: int
    nll: float
    kl: float | None

    def to_json(self) -> dict[str, Any]:
        return self.__dict__


@dataclass(frozen=True)
class Evaluation:
    """The result of `qformat.evaluate`. Figures for people: ``model.alone.perplexity``, ``divergence.kl``."""

    model: Measured
    original: Measured | None
    divergence: Divergence | None
    floor: Spread | None  # KL of the original with activations rounded to bfloat16
    by_layer: ByLayer | None
    by_position: tuple[PositionRow, ...]
    protocol: Protocol
    windows: int  # that were measured
    tokens: int  # that were scored
    seconds: float
    notes: tuple[str, ...] = ()
    scored: Tokens | None = field(default=None, repr=False)
    figures: Arrays = field(default_factory=dict, repr=False)
    original_figures: Arrays | None = field(default=None, repr=False)
    pieces: Callable[[list[int]], list[bytes]] | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        """Whether all windows of the text were measured."""
        return self.windows == self.protocol.windows

    def to_json(self) -> dict[str, Any]:
        """The result as JSON-ready values."""
        return {
            "schema": SCHEMA,
            "complete": self.complete,
            "model": self.model.to_json(),
            "original": self.original.to_json() if self.original else None,
            "divergence": self.divergence.to_json() if self.divergence else None,
            "noise_floor": self.floor.to_json() if self.floor else None,
            "by_layer": self.by_layer.to_json() if self.by_layer else None,
            "by_position": [row.to_json() for row in self.by_position],
            "protocol": self.protocol.to_json(),
            "windows": self.windows,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "versions": {name: version(name) for name in ("jax", "numpy", "qformat")},
            "notes": list(self.notes),
        }


def positions(tokens: Tokens, figures: Arrays) -> tuple[PositionRow, ...]:
    """Figures by position in the window, in ranges that double (1, 2-3, 4-7, …)."""
    rows = []
    first = 1
    while first <= int(tokens.position.max(initial=0)):
        here = (tokens.position >= first) & (tokens.position < 2 * first)
        if here.any():
            kl = float(figures["kl"][here].mean(dtype=np.float64)) if "kl" in figures else None
            last = int(tokens.position[here].max())
            nll = float(figures["nll"][here].mean(dtype=np.float64))
            rows.append(PositionRow(first, last, int(here.sum()), nll, kl))
        first *= 2
    return tuple(rows)


def window_notes(bootstrap: Bootstrap) -> list[str]:
    """What must be said of intervals over few windows."""
    if bootstrap.windows < 2:
        return ["one window gives no interval: use a longer text or a smaller --ctx"]
    if bootstrap.windows < FEW_WINDOWS:
        return [f"{bootstrap.windows} windows give a rough interval only; {FEW_WINDOWS} or more a good one"]
    return []
