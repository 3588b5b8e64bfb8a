"""Mixtures: names such as ``q4_k_m`` that stand for a choice of scheme for each tensor of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelFacts:
    """What a mixture may ask of a model."""

    layers: int
    experts: int = 0
    heads_per_kv: int = 1
    importance: bool = False  # whether matrices are encoded by importance


Choose = Callable[[Mapping[str, tuple[int, ...]], ModelFacts], dict[str, str]]


@dataclass(frozen=True)
class Mixture:
    """A named choice; ``choose`` gets the tensors' shapes under their GGUF names.

    It returns a scheme, cast or ``keep`` for each of them. ``file_type`` is the number by which a
    GGUF says that it was made so.
    """

    id: str
    summary: str
    file_type: int
    choose: Choose
