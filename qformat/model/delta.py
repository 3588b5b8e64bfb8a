"""Linear attention by the gated delta rule: a state that forgets, and learns what it got wrong.

Per value head, with keys of length 1 and queries of length d**-0.5, the state S ``[key, value]`` goes
through a sequence by (arXiv 2412.06464)::

    S <- exp(g) S;  S <- S + k beta (v - k S);  o = q S

Runs of ``CHUNK`` positions are solved at once as a triangular system, which is the same sum.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qformat.families import DeltaRule, ModelConfig
from qformat.model.attention import Cache, Positions
from qformat.model.layers import Params, linear, product

CHUNK = 64
EPS = 1e-6
EXACT = lax.Precision.HIGHEST


def delta_attention(
    config: ModelConfig, params: Params, x: Any, positions: Positions, cache: Cache | None = None
) -> tuple[Any, Cache | None]:
    """``[b, t, width]`` to the same, from a state of zeros or that of the ``cache``.

    A cache holds the last inputs of the filter ``[b, taps - 1, channels]`` and the state.
    """
    delta = config.delta
    assert delta is not None
    weight = params["ssm_conv1d.weight"]
    before = weight.shape[1] - 1
    read = linear(params, "attn_qkv", x)
    joined = jnp.pad(read, ((0, 0), (before, 0), (0, 0)))
    if cache is not None:
        joined = jnp.concatenate([cache["filter"], read], axis=1)
    q, k, v = split_heads(delta, jax.nn.silu(convolved(joined, weight)))
    g, beta = rates(params, x)
    if cache is None:
        return finish(config, params, x, delta_rule(q, k, v, g, beta)[0]), None
    real = jnp.arange(x.shape[1]) < positions.count
    out, state = delta_rule(q, k, v, jnp.where(real, g, 0), jnp.where(real, beta, 0), cache["state"])
    last = lax.dynamic_slice_in_dim(joined, positions.count, before, axis=1)
    return finish(config, params, x, out), {"filter": last, "state": state}


def convolved(x: Any, weight: Any) -> Any:
    """Each channel of ``x [b, taps - 1 + t, channels]`` with its own causal filter ``[channels, taps]``."""
    taps = weight.shape[1]
    length = x.shape[1] - taps + 1
    return sum(x[:, i : i + length] * weight[:, i] for i in range(taps))


def split_heads(delta: DeltaRule, mixed: Any) -> tuple[Any, Any, Any]:
    """Queries and keys, repeated for the value heads that share them, and values, ``[b, heads, t, d]``."""
    width = delta.key_width
    q, k, v = jnp.split(mixed, [width, 2 * width], axis=-1)
    each = delta.value_heads // delta.key_heads
    q, k = (_unit(a.reshape(*a.shape[:2], -1, delta.key_dim)) for a in (q, k))
    q, k = (jnp.tile(a, (1, 1, each, 1)) for a in (q * delta.key_dim**-0.5, k))
    v = v.reshape(*v.shape[:2], -1, delta.value_dim)
    return tuple(a.swapaxes(1, 2) for a in (q, k, v))  # type: ignore[return-value]


def _unit(x: Any) -> Any:
    return x * lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + EPS)


def rates(params: Params, x: Any) -> tuple[Any, Any]:
    """Logarithm of what is kept of the state, and how much of an error is learned, ``[b, heads, t]``."""
    step = jax.nn.softplus(product(x, params["ssm_alpha.weight"]) + params["ssm_dt.bias"])
    beta = jax.nn.sigmoid(product(x, params["ssm_beta.weight"]))
    return (step * params["ssm_a"]).swapaxes(1, 2), beta.swapaxes(1, 2)


def delta_rule(q: Any, k: Any, v: Any, g: Any, beta: Any, state: Any = None) -> tuple[Any, Any]:
    """Outputs ``[b, heads, t, value]`` and the last state ``[b, heads, key, value]``."""
    batch, heads, length, _ = k.shape
    if state is None:
        state = jnp.zeros((batch, heads, k.shape[-1], v.shape[-1]), jnp.float32)
    if length == 1:
        return _one_step(q, k, v, g, beta, state)
    # Padding is learned by nobody: its beta is 0, and it keeps all of the state.
    chunks = -(-length // CHUNK)
    q, k, v, g, beta = (_chunked(a, chunks) for a in (q, k, v, g, beta))
    total = jnp.cumsum(g, axis=-1)
    lower = jnp.tril(jnp.ones((CHUNK, CHUNK), bool))
    decay = jnp.exp(jnp.where(lower, total[..., :, None] - total[..., None, :], -jnp.inf))
    scaled = k * beta[..., None]
    system = jnp.tril(_dot(scaled, k.swapaxes(-1, -2)) * decay, -1) + jnp.eye(CHUNK)
    wanted = jnp.concatenate([v * beta[..., None], scaled * jnp.exp(total)[..., None]], axis=-1)
    solved = lax.linalg.triangular_solve(system, wanted, left_side=True, lower=True, unit_diagonal=True)
    values, keys = jnp.split(solved, [v.shape[-1]], axis=-1)
    inside = _dot(q, k.swapaxes(-1, -2)) * decay
    asks = q * jnp.exp(total)[..., None]
    ends = k * jnp.exp(total[..., -1:] - total)[..., None]
    last = jnp.exp(total[..., -1])[..., None, None]

    def step(state: Any, of: tuple[Any, ...]) -> tuple[Any, Any]:
        values, keys, inside, asks, ends, last = of
        learned = values - _dot(keys, state)
        out = _dot(asks, state) + _dot(inside, learned)
        return state * last + _dot(ends.swapaxes(-1, -2), learned), out

    state, out = lax.scan(step, state, (values, keys, inside, asks, ends, last))
    out = jnp.moveaxis(out, 0, 2).reshape(batch, heads, chunks * CHUNK, -1)
    return out[:, :, :length], state


def _one_step(q: Any, k: Any, v: Any, g: Any, beta: Any, state: Any) -> tuple[Any, Any]:
    state = state * jnp.exp(g)[..., None]
    learned = (v - _dot(k, state)) * beta[..., None]
    state = state + k.swapaxes(-1, -2) * learned
    return _dot(q, state), state


def _chunked(a: Any, chunks: int) -> Any:
    """``[b, heads, t, …]`` to ``[chunks, b, heads, CHUNK, …]``, filled with zeros."""
    spare = chunks * CHUNK - a.shape[2]
    a = jnp.pad(a, ((0, 0), (0, 0), (0, spare), *((0, 0),) * (a.ndim - 3)))
    return jnp.moveaxis(a.reshape(*a.shape[:2], chunks, CHUNK, *a.shape[3:]), 2, 0)


def _dot(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision=EXACT)


def finish(config: ModelConfig, params: Params, x: Any, out: Any) -> Any:
    """Norm per head, gate and projection of outputs ``[b, heads, t, value]``."""
    out = out.swapaxes(1, 2)
    scale = lax.rsqrt(jnp.mean(out * out, axis=-1, keepdims=True) + config.norm_eps)
    out = (out * scale * params["ssm_norm.weight"]).reshape(*x.shape[:2], -1)
    return linear(params, "ssm_out", out * jax.nn.silu(linear(params, "attn_gate", x)))
