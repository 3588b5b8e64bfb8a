"""A mixture of experts: each token goes through the few that its router likes best.

Tokens are sorted by expert and cut into equal runs, each of one expert only, so that all shapes are
known beforehand and no expert sees a token that is not its own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qformat.families import Experts, ModelConfig
from qformat.model.layers import Params, activation, product
from qformat.model.watching import Watching

RUN = 64  # tokens of a run, at most


def mixture(config: ModelConfig, params: Params, x: Any) -> Any:
    """``[b, t, width]`` to the same."""
    experts = config.experts
    assert experts is not None
    tokens = x.reshape(-1, x.shape[-1])
    chosen, weights = _route(experts, product(tokens, params["ffn_gate_inp.weight"]))
    run = _run_length(experts, len(tokens))
    slots, owners = _runs(experts, chosen.reshape(-1), run)
    watched = isinstance(params, Watching)
    padded = jnp.concatenate([tokens, jnp.zeros((1, x.shape[-1]), x.dtype)])

    def one(_: Any, of: tuple[Any, Any]) -> tuple[Any, Any]:
        owner, mine = of
        gate, up, down = (params[f"ffn_{part}_exps.weight"][owner] for part in ("gate", "up", "down"))
        read = padded[jnp.minimum(mine // experts.used, len(tokens))]
        inner = activation(config, product(read, gate)) * product(read, up)
        squares = tuple(jnp.sum(a * a, axis=0) for a in (read, inner)) if watched else ()
        return None, (product(inner, down), squares)

    _, (done, squares) = lax.scan(one, None, (owners, slots))
    if isinstance(params, Watching):
        real = jnp.sum(slots < chosen.size, axis=1)
        for names, sums in zip((("ffn_gate_exps", "ffn_up_exps"), ("ffn_down_exps",)), squares, strict=True):
            params.saw_runs(names, experts.count, owners, sums, real)
    place = jnp.zeros(chosen.size + 1, jnp.int32).at[slots.reshape(-1)].set(jnp.arange(slots.size))
    each = done.reshape(-1, x.shape[-1])[place[:-1]].reshape(*chosen.shape, -1)
    return jnp.sum(each * weights[..., None], axis=1).reshape(x.shape)


def _route(experts: Experts, scores: Any) -> tuple[Any, Any]:
    """The experts of each token and their weights, ``[tokens, used]``."""
    weights, chosen = lax.top_k(jax.nn.softmax(scores, axis=-1), experts.used)
    if experts.renormalize:
        weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
    return chosen, weights


def _run_length(experts: Experts, tokens: int) -> int:
    """A power of two near the tokens that an expert has on average."""
    average = tokens * experts.used // experts.count
    return min(RUN, 1 << max(0, average - 1).bit_length())


def _runs(experts: Experts, chosen: Any, run: int) -> tuple[Any, Any]:
    """Cut the choices, sorted by expert, into runs of one expert each.

    Returns the numbers of the choices, ``[runs, run]`` (those beyond the last stand for nothing), and
    the expert of each run.
    """
    count = chosen.size
    runs = -(-count // run) + min(experts.count, count)
    order = jnp.argsort(chosen, stable=True)
    sizes = jnp.zeros(experts.count, jnp.int32).at[chosen].add(1)
    full = -(-sizes // run)  # runs of each expert
    first_run = jnp.cumsum(full) - full
    first = jnp.cumsum(sizes) - sizes
    expert = chosen[order]
    spot = first_run[expert] * run + jnp.arange(count) - first[expert]
    slots = jnp.full(runs * run, count, jnp.int32).at[spot].set(order.astype(jnp.int32))
    owners = jnp.searchsorted(jnp.cumsum(full), jnp.arange(runs), side="right")
    return slots.reshape(runs, run), jnp.minimum(owners, experts.count - 1)
