"""Shared inputs: small checkpoints made on the spot, in the shape of real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import settings
from safetensors.numpy import save_file

settings.register_profile("qformat", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("qformat")

# Compiled kernels are shared by the processes of all runs in this checkout, and by nothing else.
os.environ.setdefault("XDG_CACHE_HOME", str(Path(__file__).parents[1] / ".pytest_cache"))

# A shell's background job begins with Ctrl-C ignored, and so would every program that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Those need llama.cpp: `make test-interop`.
collect_ignore = [] if os.environ.get("QFORMAT_INTEROP") else ["interop"]

SCHEMES = ("sym8", "sym4", "sym2", "asym8", "asym4", "asym2")


def weights(seed: int, shape: tuple[int, ...], dtype=ml_dtypes.bfloat16) -> np.ndarray:
    """Gaussian weights with a few outliers, as trained ones have."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * 0.02
    values = np.where(rng.random(shape) < 0.002, values * 8, values)
    return np.asarray(values).astype(dtype)


def save_bf16(tensors: dict[str, np.ndarray], path: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors, path, metadata=metadata)
    return path


def tiny_model(folder: Path, *, hidden: int = 64, ffn: int = 172, layers: int = 2, vocab: int = 80) -> Path:
    """A Hugging Face folder with Llama's tensor names, and rows that no block divides."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"model.embed_tokens.weight": weights(0, (vocab, hidden))}
    for i in range(layers):
        at = f"model.layers.{i}."
        tensors[at + "input_layernorm.weight"] = weights(i + 1, (hidden,)) + 1
        for j, (name, shape) in enumerate(
            {
                "self_attn.q_proj": (hidden, hidden),
                "self_attn.k_proj": (hidden // 2, hidden),
                "mlp.up_proj": (ffn, hidden),
                "mlp.down_proj": (hidden, ffn),
            }.items()
        ):
            tensors[f"{at}{name}.weight"] = weights(10 * i + j + 100, shape)
    tensors["model.norm.weight"] = weights(9, (hidden,)) + 1
    tensors["lm_head.weight"] = weights(8, (vocab, hidden))
    tensors = {k: np.asarray(v, ml_dtypes.bfloat16) for k, v in tensors.items()}
    save_bf16(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": hidden}))
    (folder / "tokenizer.json").write_text('{"model": {}}')
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def qformat(*args: object, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "qformat", *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    if check:
        assert done.returncode == 0, done.stderr
    return done
