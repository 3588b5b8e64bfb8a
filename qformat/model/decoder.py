"""One layer of any model, and the head: pure functions of parameters and hidden states."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from qformat.families import ModelConfig
from qformat.model.attention import Cache, Positions, attention
from qformat.model.delta import delta_attention
from qformat.model.feed_forward import feed_forward
from qformat.model.layers import Params, linear, norm, softcap

WIDE = 2048  # from this width on a token's products are worth more than one thread


@dataclass(frozen=True)
class Kind:
    """What layers of one model differ in; layers of a kind share one compiled function."""

    window: int | None = None
    delta: bool = False

    @classmethod
    def of(cls, config: ModelConfig, layer: int) -> Kind:
        return cls(config.window if config.is_windowed(layer) else None, config.is_delta(layer))


def block(
    config: ModelConfig,
    kind: Kind,
    params: Params,
    hidden: Any,
    positions: Positions,
    cache: Cache | None = None,
    last: int | None = None,
) -> tuple[Any, Cache | None]:
    """A layer: attention, then feed-forward, each added to what it read; ``[b, t, width]`` to the same.

    Without a cache sequences begin at the first position; with one they go on from what it holds.
    With ``last`` only the states of so many last positions are made: ``[b, last, width]``.
    """
    read = norm(config, params, "attn_norm", hidden) if config.pre_norm else hidden
    if kind.delta:
        mixed, cache = delta_attention(config, params, read, positions, cache)
    else:
        mixed, cache = attention(config, kind.window, params, read, positions, cache, last)
    if last is not None:
        hidden, read, mixed = (x[:, -last:] for x in (hidden, read, mixed))
    return after_attention(config, params, hidden, read, mixed), cache


def after_attention(config: ModelConfig, params: Params, hidden: Any, read: Any, mixed: Any) -> Any:
    """The rest of a layer, from what attention read and what it gave."""
    if config.parallel:
        read = read if config.shared_norm else norm(config, params, "ffn_norm", hidden)
        return _added(config, _added(config, hidden, mixed), feed_forward(config, params, read))
    if config.post_norm:
        mixed = norm(config, params, "post_attention_norm", mixed)
    hidden = _added(config, hidden, mixed)
    read = norm(config, params, "ffn_norm", hidden) if config.pre_norm else hidden
    out = feed_forward(config, params, read)
    if config.post_norm:
        out = norm(config, params, "post_ffw_norm", out)
    return _added(config, hidden, out)


def _added(config: ModelConfig, hidden: Any, part: Any) -> Any:
    return hidden + (part if config.residual_scale is None else part * config.residual_scale)


def logits(config: ModelConfig, params: Params, hidden: Any) -> Any:
    """The head: ``[n, width]`` to float32 ``[n, vocabulary]``."""
    out = linear(params, "output", norm(config, params, "output_norm", hidden))
    if config.logit_scale is not None:
        out = out * config.logit_scale
    if config.logit_divisor is not None:
        out = out / config.logit_divisor
    return softcap(out, config.logit_softcap)


def one_token_options(*, split: bool) -> dict[str, bool | int | str]:
    """How to compile what single tokens go through: for wide vectors, a fifth faster with packed matrices.

    Without ``split`` XLA does not share loops out among its threads. In a small model it would wait longer
    for them to wake up than the loops take.
    """
    if jax.default_backend() != "cpu":
        return {}
    alone = {} if split else {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    return {"xla_cpu_prefer_vector_width": 512, **alone}


@functools.partial(jax.jit, static_argnames=("config", "kind", "last"))
def compiled_block(
    config: ModelConfig,
    kind: Kind,
    params: Params,
    hidden: Any,
    start: Any,
    angles: Any,
    last: int | None = None,
) -> Any:
    """`block`, compiled once for each kind of layer, shape of ``hidden`` and ``last``."""
    return block(config, kind, params, hidden, Positions(start, angles), last=last)[0]


def _step(
    config: ModelConfig,
    kind: Kind,
    params: Params,
    hidden: Any,
    at: tuple[Any, Any],
    angles: Any,
    cache: Cache,
    reach: int,
) -> tuple[Any, Cache | None]:
    return block(config, kind, params, hidden, Positions(at[0], angles, at[1], reach), cache)


def _compiled_step(*, split: bool) -> Any:
    return jax.jit(
        _step,
        static_argnames=("config", "kind", "reach"),
        donate_argnames=("cache",),
        compiler_options=one_token_options(split=split),
    )


# `block` with a cache, which is used up; ``at`` has the first position and how many are real.
compiled_step, compiled_small_step = _compiled_step(split=True), _compiled_step(split=False)


def step_for(config: ModelConfig, count: int) -> Any:
    """The compiled step for so many tokens at once."""
    return compiled_small_step if count == 1 and config.width < WIDE else compiled_step


def empty_cache(config: ModelConfig, kind: Kind, capacity: int, dtype: Any) -> Cache:
    """The cache of one layer and one sequence of up to ``capacity`` positions, before its first.

    Keys and values are of ``dtype``.
    """
    delta = config.delta
    if not kind.delta or delta is None:
        shape = (1, config.kv_heads, capacity, config.head_dim)
        return {"k": jnp.zeros(shape, dtype), "v": jnp.zeros(shape, dtype)}
    return {
        "filter": jnp.zeros((1, delta.conv - 1, delta.qkv_width), jnp.float32),
        "state": jnp.zeros((1, delta.value_heads, delta.key_dim, delta.value_dim), jnp.float32),
    }


@functools.partial(jax.jit, static_argnames=("config",), compiler_options=one_token_options(split=True))
def compiled_logits(config: ModelConfig, params: Params, hidden: Any) -> Any:
    """`logits`, compiled once for each shape of ``hidden``."""
    return logits(config, params, hidden)


def embedded(config: ModelConfig, rows: Any, positions: Any = None) -> Any:
    """Rows of the embedding as the first hidden states: scaled, with learned positions added."""
    rows = jnp.asarray(rows)
    if config.embedding_scale is not None:
        rows = rows * jnp.float32(config.embedding_scale)
    return rows if positions is None else rows + positions
