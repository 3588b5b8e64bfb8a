"""A toy decoder with the doors of a real one: causal, random, quick to compile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class FakeHead:
    params: np.ndarray | None

    def apply(self, params, hidden):
        return hidden @ params


@jax.jit
def _layer(weights, hidden):
    past = jnp.cumsum(hidden, axis=1) / jnp.arange(1, hidden.shape[1] + 1)[:, None]
    return hidden + jnp.tanh(past @ weights)


class FakeModel:
    """Layers that mix each token with the mean of those before it."""

    def __init__(
        self, seed: int, *, layers: int = 3, width: int = 16, vocabulary: int = 40, noise: float = 0.0
    ):
        rng, extra = np.random.default_rng(seed), np.random.default_rng(1000 + seed)
        self.config = SimpleNamespace(layers=layers, width=width, vocabulary=vocabulary, family="fake")
        self.checkpoint = SimpleNamespace(path=Path(f"fake-{seed}"))
        self.reads: list[int] = []

        def draw(*shape):
            values = rng.standard_normal(shape) + noise * extra.standard_normal(shape)
            return (values / np.sqrt(width)).astype(np.float32)

        self.embedding = draw(vocabulary, width) * 4
        self.weights = [draw(width, width) for _ in range(layers)]
        self.out = draw(width, vocabulary) * 3

    def embed(self, tokens):
        return self.embedding[tokens]

    def layer(self, index):
        self.reads.append(index)
        weights = self.weights[index]
        return lambda hidden, last: _layer(weights, hidden)[:, -last:]

    def head(self):
        return FakeHead(self.out)

    def logits(self, tokens):
        hidden = self.embed(tokens)
        for weights in self.weights:
            hidden = _layer(weights, hidden)
        return np.asarray(hidden @ self.out)
