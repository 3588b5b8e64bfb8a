"""How far something in several parts is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What is being done, and which share of that is done."""

    what: str
    fraction: float
