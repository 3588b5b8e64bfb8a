"""Rotary positions: the angles per position, under every rule of stretching, and the turning itself.

Formulas as in the papers: llama3 and linear by frequency, YaRN (arXiv 2309.00071, section 3.2),
LongRoPE (arXiv 2402.13753).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from qformat.families import ModelConfig, Rope, RopeScaling
from qformat.families.rope import llama3_factors

Frequencies = NDArray[np.float32]


@dataclass(frozen=True)
class Turning:
    """Radians per position of each pair, and what cosine and sine are multiplied by."""

    frequencies: Frequencies
    scale: np.float32


def turning(rope: Rope, length: int, *, local: bool = False) -> Turning:
    """How fast each pair turns in sequences of up to ``length`` positions.

    ``local`` is for layers with a window, which have a base of their own in some families and then
    are not stretched.
    """
    if local and rope.local_base is not None:
        return Turning(_plain(rope.local_base, rope.dimension), np.float32(1))
    plain = _plain(rope.base, rope.dimension)
    scaling = rope.scaling
    if scaling is None:
        return Turning(plain, np.float32(1))
    if scaling.kind == "yarn":
        return _yarn(rope, scaling, plain)
    factors: tuple[float, ...] = (scaling.factor,)
    scale = np.float32(1)
    if scaling.kind == "llama3":
        factors = llama3_factors(rope)
    elif scaling.kind == "longrope":
        factors = scaling.long if length > (rope.original_context or 0) else scaling.short
        scale = np.float32(scaling.attention_factor or 1)
    stretched: Frequencies = (plain / np.array(factors, np.float32)).astype(np.float32)
    return Turning(stretched, scale)


def _plain(base: float, dimension: int) -> Frequencies:
    exponents = np.arange(0, dimension, 2, dtype=np.float32) / np.float32(dimension)
    found: Frequencies = (np.float32(1) / np.power(np.float32(base), exponents)).astype(np.float32)
    return found


def _yarn(rope: Rope, scaling: RopeScaling, plain: Frequencies) -> Turning:
    """Slow pairs are stretched, fast ones are not, with a ramp between."""
    context = rope.original_context or 1

    def pair(turns: float) -> float:
        """The pair that turns so often within the context."""
        return rope.dimension * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(rope.base))

    low = max(math.floor(pair(scaling.beta_fast or 32)), 0)
    high = min(math.ceil(pair(scaling.beta_slow or 1)), rope.dimension - 1)
    pairs = np.arange(rope.dimension // 2, dtype=np.float32)
    slow = np.clip((pairs - low) / np.float32(max(high - low, 0.001)), 0, 1)
    factor = scaling.factor
    stretched = plain / np.float32(factor)
    scale = scaling.attention_factor or (0.1 * math.log(factor) + 1 if factor > 1 else 1.0)
    return Turning((stretched * slow + plain * (1 - slow)).astype(np.float32), np.float32(scale))


@partial(jax.jit, static_argnames=("length",))
def angles(frequencies: Any, scale: Any, length: int) -> tuple[Any, Any]:
    """Cosine and sine for positions from 0 on, ``[length, pairs]`` each."""
    angle = jnp.arange(length, dtype=jnp.float32)[:, None] * frequencies
    return jnp.cos(angle) * scale, jnp.sin(angle) * scale


def turn(x: Any, cosine: Any, sine: Any) -> Any:
    """Turn ``x`` ``[b, t, heads, head_dim]``: element i with i + pairs, those beyond 2·pairs not at all."""
    pairs = cosine.shape[-1]
    cosine, sine = cosine[:, None], sine[:, None]
    a, b = x[..., :pairs], x[..., pairs : 2 * pairs]
    turned = [a * cosine - b * sine, b * cosine + a * sine]
    return jnp.concatenate([*turned, x[..., 2 * pairs :]], axis=-1)


def layer_angles(config: ModelConfig, layer: int, length: int, room: int = 0) -> tuple[Any, Any] | None:
    """`angles` of a layer in a sequence of ``length`` positions; None if it does not turn.

    They go on to ``room`` positions if those are more. Layers share them: computed inside a layer, XLA
    would compute them anew for every head.
    """
    if config.rope is None or not config.has_rope(layer) or config.is_delta(layer):
        return None
    return _shared_angles(config.rope, length, max(length, room), local=config.is_windowed(layer))


@lru_cache(maxsize=4)
def _shared_angles(rope: Rope, length: int, room: int, *, local: bool) -> tuple[Any, Any]:
    turns = turning(rope, length, local=local)
    cosine, sine = angles(turns.frequencies, turns.scale, room)
    return cosine, sine
