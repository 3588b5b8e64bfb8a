"""Grouped-query attention with all that families add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qformat.families import ModelConfig
from qformat.model.layers import Params, exact, linear, norm, softcap
from qformat.model.rope import turn

QUERIES = 64  # scores are computed for so many positions at once: they stay in cache
PARTS = 16  # at most, so that a long sequence does not take long to compile
HIDDEN = -1e30

Cache = Mapping[str, Any]


@dataclass(frozen=True)
class Positions:
    """Where a sequence stands: its first position, and how its pairs turn (None: not at all).

    ``angles`` are the cosines and sines of all positions from 0 on. ``count`` says how many of the
    sequence's positions are real, where the rest are filling. ``reach`` is how much of a cache has to be
    looked at: all that is in it lies before.
    """

    start: Any
    angles: tuple[Any, Any] | None = None
    count: Any = None
    reach: int | None = None


def attention(
    config: ModelConfig,
    window: int | None,
    params: Params,
    x: Any,
    positions: Positions,
    cache: Cache | None = None,
    last: int | None = None,
) -> tuple[Any, Cache | None]:
    """Causal attention over ``x`` ``[b, t, width]``; with a ``window`` each sees so many, itself included.

    With a ``cache`` of keys and values ``[b, kv_heads, capacity, d]`` what it holds before the first
    position is seen too, and what comes new is put into it. Without one, so many ``last`` positions can be
    asked for alone.
    """
    q, k, v, gate = queries_keys_values(config, params, x, positions, last)
    narrow = params["attn_output.weight"].dtype if cache is None else cache["k"].dtype
    q, k, v = q.astype(narrow), k.swapaxes(1, 2).astype(narrow), v.swapaxes(1, 2).astype(narrow)
    if cache is None:
        out = attend(config, window, q, k, v)
    else:
        put = partial(lax.dynamic_update_slice_in_dim, start_index=positions.start, axis=2)
        cache = {"k": put(cache["k"], k), "v": put(cache["v"], v)}
        held_k, held_v = (cache[name][:, :, : positions.reach] for name in "kv")
        see = visible(positions.start + jnp.arange(x.shape[1]), jnp.arange(held_k.shape[2]), window)
        out = weighed(config, q, held_k, held_v, see)
    if gate is not None:
        out = out * jax.nn.sigmoid(gate)
    return linear(params, "attn_output", out), cache


def queries_keys_values(
    config: ModelConfig, params: Params, x: Any, positions: Positions, last: int | None = None
) -> tuple[Any, Any, Any, Any]:
    """Queries, keys, values ``[b, t, heads, d]``, turned; gates ``[b, t, heads·d]`` or None.

    Queries and gates are those of the ``last`` positions, if that is given.
    """
    q_width, dim = config.q_width, config.head_dim
    end = 2 * q_width if config.gated_attention else q_width
    if last is None:
        asking, kept = jnp.split(linear(params, "attn_qkv", x), [end], axis=-1)
    else:
        asking = linear(params, "attn_qkv", x[:, -last:], slice(end))
        kept = linear(params, "attn_qkv", x, slice(end, None))
    q, gate = asking[..., :q_width], asking[..., q_width:] if config.gated_attention else None
    q, k, v = (part.reshape(*part.shape[:2], -1, dim) for part in (q, *jnp.split(kept, 2, axis=-1)))
    if config.qk_norm is not None:
        q, k = _qk_norm(config, params, "attn_q_norm", q), _qk_norm(config, params, "attn_k_norm", k)
    if positions.angles is not None:
        here = partial(lax.dynamic_slice_in_dim, start_index=positions.start, slice_size=x.shape[1])
        cosine, sine = (here(table) for table in positions.angles)
        count = q.shape[1]
        q, k = turn(q, cosine[-count:], sine[-count:]), turn(k, cosine, sine)
    return q, k, v, gate


def _qk_norm(config: ModelConfig, params: Params, name: str, x: Any) -> Any:
    if config.qk_norm == "row":
        return norm(config, params, name, x.reshape(*x.shape[:2], -1)).reshape(x.shape)
    return norm(config, params, name, x)


def attend(config: ModelConfig, window: int | None, q: Any, k: Any, v: Any) -> Any:
    """Causal softmax attention of sequences that end together; float32 ``[b, t, heads·d]``.

    Queries go in parts, each against the keys that it can see and no others.
    """
    count, length = q.shape[1], k.shape[2]
    step = max(QUERIES, -(-count // PARTS))
    parts = []
    for first in range(length - count, length, step):
        end = min(first + step, length)
        begin = 0 if window is None else max(0, first - window + 1)
        see = visible(jnp.arange(first, end), jnp.arange(begin, end), window)
        asking = q[:, first - length + count : end - length + count]
        parts.append(weighed(config, asking, k[:, :, begin:end], v[:, :, begin:end], see))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def visible(queries: Any, keys: Any, window: int | None) -> Any:
    """Which keys a query sees, by their positions: ``[queries, keys]``."""
    back = queries[:, None] - keys[None]
    return back >= 0 if window is None else (back >= 0) & (back < window)


def weighed(config: ModelConfig, q: Any, k: Any, v: Any, see: Any) -> Any:
    """Values weighed by the softmax of the scores of the keys that are seen: ``[b, t, heads·d]``.

    ``q`` is ``[b, t, heads, d]``, ``k`` and ``v`` are ``[b, kv_heads, keys, d]``.
    """
    batch, length, heads, dim = q.shape
    groups = heads // config.kv_heads
    scale = config.attention_scale if config.attention_scale is not None else dim**-0.5
    q = q.reshape(batch, length, config.kv_heads, groups, dim).transpose(0, 2, 3, 1, 4)
    both = ((0, 1), (0, 1))
    times = partial(lax.dot_general, precision=exact(q.dtype), preferred_element_type=jnp.float32)
    q = q.reshape(batch, config.kv_heads, groups * length, dim)
    scores = softcap(times(q, k, (((3,), (3,)), both)) * scale, config.attention_softcap)
    scores = scores.reshape(batch, config.kv_heads, groups, length, -1)
    weights = jax.nn.softmax(jnp.where(see, scores, HIDDEN), axis=-1).reshape(*q.shape[:3], -1)
    out = times(weights.astype(v.dtype), v, (((3,), (2,)), both))
    out = out.reshape(batch, config.kv_heads, groups, length, dim).transpose(0, 3, 1, 2, 4)
    return out.reshape(batch, length, heads * dim)
