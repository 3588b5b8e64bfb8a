"""The training loop: AdamW with warm-up and cosine decay over packed rows of tokens, with a checkpoint."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from .model import ModelConfig, Params, init_params, mean_loss

CHECKPOINT_EVERY = 100
LOG_EVERY = 20
# Row length by share of the run: short rows are cheap and most documents fit them; the last phase
# teaches all positions of the context.
PHASES = [(0.6, 128), (0.9, 256), (1.0, 512)]


@dataclass(frozen=True)
class TrainConfig:
    steps: int
    step_tokens: int = 2048
    peak_rate: float = 3e-3
    final_rate: float = 1e-4
    warmup: int = 60
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    clip: float = 1.0


@dataclass
class TrainState:
    params: Params
    first: Params
    second: Params
    step: int = 0
    seconds: float = 0.0


def learning_rate(step: jax.Array, config: TrainConfig) -> jax.Array:
    warm = (step + 1) / config.warmup
    progress = jnp.clip((step - config.warmup) / (config.steps - config.warmup), 0.0, 1.0)
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * progress))
    return jnp.minimum(warm, 1.0) * (config.final_rate + (config.peak_rate - config.final_rate) * cosine)


def adamw(
    params: Params, moments: tuple[Params, Params], grads: Params, step: jax.Array, config: TrainConfig
) -> tuple[Params, Params, Params]:
    """One AdamW update; norms are not decayed, as is usual."""
    first, second = moments
    norm = jnp.sqrt(sum((jnp.sum(g * g) for g in grads.values()), jnp.float32(0)))
    shrink = jnp.minimum(1.0, config.clip / (norm + 1e-6))
    rate = learning_rate(step, config)
    new_params, new_first, new_second = {}, {}, {}
    for name, raw in grads.items():
        grad = raw * shrink
        m = config.beta1 * first[name] + (1 - config.beta1) * grad
        v = config.beta2 * second[name] + (1 - config.beta2) * grad * grad
        m_hat = m / (1 - config.beta1 ** (step + 1))
        v_hat = v / (1 - config.beta2 ** (step + 1))
        decay = config.weight_decay if grad.ndim == 2 else 0.0
        new_params[name] = params[name] - rate * (m_hat / (jnp.sqrt(v_hat) + 1e-8) + decay * params[name])
        new_first[name], new_second[name] = m, v
    return new_params, new_first, new_second


def make_step(model: ModelConfig, config: TrainConfig) -> Callable[..., Any]:
    def step(
        params: Params, first: Params, second: Params, rows: jax.Array, index: jax.Array
    ) -> tuple[Params, Params, Params, jax.Array]:
        loss, grads = jax.value_and_grad(mean_loss)(params, rows, model)
        return *adamw(params, (first, second), grads, index, config), loss

    return jax.jit(step, donate_argnums=(0, 1, 2))


def row_length(step: int, steps: int) -> int:
    return next(length for share, length in PHASES if step < share * steps)


def batch_rows(tokens: npt.NDArray[np.uint16], step: int, config: TrainConfig) -> npt.NDArray[np.int32]:
    """Rows of one step: consecutive pieces of the packed stream, which is read from its start to its end."""
    size, length = config.step_tokens, row_length(step, config.steps)
    start = step * size % (len(tokens) - size)
    piece = tokens[start : start + size + 1].astype(np.int32)
    return np.stack([piece[i : i + length + 1] for i in range(0, size, length)])


def save_checkpoint(path: Path, state: TrainState) -> None:
    host = jax.device_get((state.params, state.first, state.second))
    partial = path.with_suffix(".partial")
    partial.write_bytes(pickle.dumps((host, state.step, state.seconds)))
    partial.replace(path)


def load_state(path: Path, model: ModelConfig, seed: int) -> TrainState:
    """The checkpoint of an interrupted run of ours, else a fresh start."""
    if path.exists():
        (params, first, second), step, seconds = pickle.loads(path.read_bytes())
        return TrainState(params, first, second, step, seconds)
    params = init_params(model, seed)
    first, second = ({name: jnp.zeros_like(value) for name, value in params.items()} for _ in range(2))
    return TrainState(params, first, second)


def train(
    tokens: npt.NDArray[np.uint16], model: ModelConfig, config: TrainConfig, seed: int, checkpoint: Path
) -> tuple[Params, float, float]:
    """Trains to the last step; gives the parameters, the mean loss of the last 50 steps, and the seconds."""
    state = load_state(checkpoint, model, seed)
    step_fn = make_step(model, config)
    losses: list[float] = []
    began = time.monotonic() - state.seconds
    while state.step < config.steps:
        rows = batch_rows(tokens, state.step, config)
        state.params, state.first, state.second, loss = step_fn(
            state.params, state.first, state.second, rows, jnp.int32(state.step)
        )
        losses = [*losses[-49:], float(loss)]
        state.step += 1
        state.seconds = time.monotonic() - began
        if state.step % LOG_EVERY == 0:
            rate = state.step * config.step_tokens / state.seconds
            print(
                f"step {state.step:5d}  loss {np.mean(losses[-LOG_EVERY:]):.4f}  {rate:.0f} tokens/s",
                flush=True,
            )
        if state.step % CHECKPOINT_EVERY == 0 or state.step == config.steps:
            save_checkpoint(checkpoint, state)
    return state.params, float(np.mean(losses)), state.seconds
