"""The parts of a layer that are the same in all: products, norms, activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qformat.families import ModelConfig
from qformat.model.packed import times
from qformat.model.watching import Watching

Params = Mapping[str, Any]
LAST = (((1,), (1,)), ((), ()))  # rows times rows


def product(x: Any, weight: Any) -> Any:
    """``x [..., k]`` times the rows of ``weight [n, k]``: float32 ``[..., n]``.

    With a bfloat16 weight, ``x`` is rounded to it; sums are float32 either way. Packed weights, each with
    some of the outputs, are decoded on the way.
    """
    flat = x.reshape(-1, x.shape[-1])
    if isinstance(weight, tuple):
        rows = [jnp.concatenate([times(row, part) for part in weight]) for row in flat]
        return jnp.stack(rows).reshape(*x.shape[:-1], -1)
    flat = flat.astype(weight.dtype)
    if len(flat) == 1 and weight.dtype == jnp.bfloat16:
        flat = jnp.concatenate([flat, flat])  # XLA has no fast product of one bfloat16 row
    out = lax.dot_general(
        flat, weight, LAST, precision=exact(weight.dtype), preferred_element_type=jnp.float32
    )
    return out[: x.size // x.shape[-1]].reshape(*x.shape[:-1], weight.shape[0])


def exact(dtype: Any) -> lax.Precision | None:
    """The precision that keeps all bits of float32 factors, on accelerators too."""
    return None if dtype == jnp.bfloat16 else lax.Precision.HIGHEST


def linear(params: Params, name: str, x: Any, outputs: slice | None = None) -> Any:
    """A projection, with its bias if it has one; with ``outputs`` only those of a plain matrix."""
    if isinstance(params, Watching):
        params.saw(name, x)
    weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
    if outputs is not None:
        weight, bias = weight[outputs], None if bias is None else bias[outputs]
    out = product(x, weight)
    return out if bias is None else out + bias


def norm(config: ModelConfig, params: Params, name: str, x: Any) -> Any:
    """The model's kind of norm over the last axis: root mean square, or mean and variance."""
    weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
    if config.norm == "layer":
        x = x - jnp.mean(x, axis=-1, keepdims=True)
    scale = lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + config.norm_eps)
    out = x * scale * weight
    return out if bias is None else out + bias


def activation(config: ModelConfig, x: Any) -> Any:
    if config.activation == "silu":
        return jax.nn.silu(x)
    if config.activation == "relu":
        return jax.nn.relu(x)
    return jax.nn.gelu(x, approximate=config.activation == "gelu_tanh")


def softcap(x: Any, cap: float | None) -> Any:
    """Values pressed smoothly into ±cap."""
    return x if cap is None else jnp.tanh(x / cap) * cap
