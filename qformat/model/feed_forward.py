"""The part of a layer after attention: gated or not, one for all tokens or a mixture of experts."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from qformat.families import ModelConfig
from qformat.model.layers import Params, activation, linear


def feed_forward(config: ModelConfig, params: Params, x: Any) -> Any:
    """``[b, t, width]`` to the same."""
    if config.experts is not None:
        from qformat.model.experts import mixture

        return mixture(config, params, x)
    if not config.gated:
        return linear(params, "ffn_down", activation(config, linear(params, "ffn_up", x)))
    gate, up = jnp.split(linear(params, "ffn_gate_up", x), 2, axis=-1)
    return linear(params, "ffn_down", activation(config, gate) * up)
