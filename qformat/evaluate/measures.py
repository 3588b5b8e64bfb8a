"""Per-token figures from two models' logits, over the whole vocabulary, in float32.

With p and q the two distributions and d = ln p - ln q, KL(p‖q) is summed as p·(d + e^-d - 1): what was
added sums to nothing, no term is negative, a rounding error in either normalization cancels in first
order, and equal logits give exactly 0. Jensen-Shannon is summed likewise, with m = (p + q)/2 and
u = d/2, as m·(u·tanh u - ln cosh u). For small arguments the power series is used, where the closed
form would be the small difference of larger numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

TOP = 5
CACHED = 1 << 18  # logits of the rows that are measured together
SMALL_KL, SMALL_JS = 0.5, 0.2
Figures = dict[str, jax.Array]


def log_softmax(logits: jax.Array) -> jax.Array:
    """Natural logarithms of probabilities, over the last axis."""
    shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
    return shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True))


def own_figures(logits: jax.Array, targets: jax.Array) -> Figures:
    """What one model says of each true token: ``nll``, ``top`` (ids) and ``top_ln`` of the likeliest."""
    ln = log_softmax(logits)
    best, ids = jax.lax.top_k(ln, min(TOP, ln.shape[-1]))
    nll = -jnp.take_along_axis(ln, targets[:, None], axis=-1)[:, 0]
    # -0.0 would print as a negative number
    return {"nll": jnp.abs(nll), "top": ids.astype(jnp.int32), "top_ln": best}


def divergences(original: jax.Array, logits: jax.Array) -> Figures:
    """KL both ways and Jensen-Shannon of each row of two arrays of logits ``[n, vocabulary]``."""
    a, b = log_softmax(original), log_softmax(logits)
    p, q, d = jnp.exp(a), jnp.exp(b), a - b
    return {
        "kl": _kl_terms(p, q, d).sum(axis=-1),
        "kl_reverse": _kl_terms(q, p, -d).sum(axis=-1),
        "js": _js_terms(p, q, d / 2).sum(axis=-1),
    }


def _kl_terms(p: jax.Array, q: jax.Array, d: jax.Array) -> jax.Array:
    """p·(d + e^-d - 1), by its series d²/2 - d³/6 + … where d is small."""
    series = jnp.zeros_like(d)
    for k in range(9, 1, -1):
        series = 1 - series * d / (k + 1)
    series = p * d * d / 2 * series
    # rounding may leave a closed form a hair below 0 only if p and q are negligible
    return jnp.where(jnp.abs(d) < SMALL_KL, series, jnp.maximum(p * d + (q - p), 0))


def _js_terms(p: jax.Array, q: jax.Array, u: jax.Array) -> jax.Array:
    """m·(u·tanh u - ln cosh u), where tanh u = (p - q)/(p + q), by u²/2 - u⁴/4 + u⁶/9 - 17u⁸/360 if small."""
    s, size, mean = u * u, jnp.abs(u), (p + q) / 2
    series = s * (1 / 2 - s * (1 / 4 - s * (1 / 9 - s * (17 / 360))))
    ln_cosh = size + jnp.log(1 + jnp.exp(-2 * size)) - jnp.log(2.0)
    closed = size * jnp.abs(p - q) / 2 - mean * ln_cosh
    return jnp.where(size < SMALL_JS, mean * series, jnp.maximum(closed, 0))


def rows_in_cache(figures: Callable[..., Figures], *arrays: jax.Array) -> Figures:
    """Figures of arrays ``[n, …]``, the first of logits, for so few rows at a time that all stays in cache.

    Over a vocabulary of 150,000 this takes a third of the time.
    """
    count, vocabulary = arrays[0].shape
    few = math.gcd(count, 1 << max(1, CACHED // vocabulary).bit_length() - 1)
    steps = tuple(a.reshape(count // few, few, *a.shape[1:]) for a in arrays)
    found = lax.map(lambda part: figures(*part), steps)
    return {name: a.reshape(count, *a.shape[2:]) for name, a in found.items()}


# Each compiled function belongs to a head without its parameters, so that heads of one shape share it.


def bare(head: Any) -> Any:
    """A head without its parameters, which are given to each call anew."""
    return dataclasses.replace(head, params=None)


@lru_cache(maxsize=64)
def logits_of(head: Any, vocabulary: int) -> Callable[[Any, Any], jax.Array]:
    """Parameters and hidden states ``[n, width]`` to logits, as one jitted function."""
    return jax.jit(lambda params, hidden: head.apply(params, hidden)[:, :vocabulary])


@lru_cache(maxsize=64)
def alone(head: Any, vocabulary: int) -> Callable[[Any, Any, Any], Figures]:
    """Parameters, hidden states and true tokens to `own_figures`, as one jitted function."""

    def measure(params: Any, hidden: jax.Array, true: jax.Array) -> Figures:
        return rows_in_cache(own_figures, head.apply(params, hidden)[:, :vocabulary], true)

    return jax.jit(measure)


@lru_cache(maxsize=64)
def against(head: Any, vocabulary: int) -> Callable[[Any, Any, Any, Any], Figures]:
    """The same with the divergences from an original's logits, as one jitted function."""

    def measure(params: Any, hidden: jax.Array, original: jax.Array, true: jax.Array) -> Figures:
        logits = head.apply(params, hidden)[:, :vocabulary]
        return rows_in_cache(lambda a, b, t: own_figures(a, t) | divergences(b, a), logits, original, true)

    return jax.jit(measure)
