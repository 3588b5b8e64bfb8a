"""Reading tokens: this program against llama.cpp on the same file, tokens and windows, in turn.

As many tokens as an evaluation takes through a layer before it reads the next. Ours reads and decodes
every layer from the file within the time that is measured, as an evaluation does; llama.cpp has its
model loaded. Both give the logits of each window's last token. How far these are from float32's, with
the same weights, is printed too: ours rounds factors to bfloat16 (as with ``--dtype bf16``) but for the
f32 file, llama.cpp rounds activations to its own types.

Usage: `python benchmarks/prefill.py [TYPE …]`, in an environment with llama-cpp-python.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from llama_model import VOCABULARY, LlamaCpp, model

from qformat.evaluate.engine import GROUP_TOKENS
from qformat.model import open_model

LENGTH, ROUNDS = 512, 5
WINDOWS = GROUP_TOKENS // LENGTH
BOUNDS = {"f32": 1.5, "bf16": 1.3, "q8_0": 1.5, "q4_0": 1.1, "q4_k": 1.1}
FOLDER = Path(tempfile.gettempdir()) / "qformat-bench"


def ours(path: Path, dtype: str, tokens: np.ndarray) -> np.ndarray:
    """Logits of the last token of each window: all windows through one layer after the other."""
    opened = open_model(path, dtype)
    hidden = opened.embed(tokens)
    for i in range(opened.config.layers):
        layer = opened.layer(i)
        hidden = layer(hidden)
        jax.block_until_ready(hidden)
    return np.asarray(opened.head().logits(hidden[:, -1]))


def measure(kind: str) -> None:
    path, tokens = model(FOLDER, kind), np.random.default_rng(1).integers(0, VOCABULARY, (WINDOWS, LENGTH))
    dtype = "f32" if kind == "f32" else "bf16"
    llama = LlamaCpp(path, LENGTH)
    few = tokens[:2]
    wide = ours(path, "f32", few)
    found = {"ours": ours(path, dtype, few), "llama.cpp": np.array([llama.read(window) for window in few])}
    errors = {name: np.sqrt(((logits - wide) ** 2).mean()) / wide.std() for name, logits in found.items()}
    speeds: dict[str, list[float]] = {"ours": [], "llama.cpp": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ours(path, dtype, tokens)
        middle = time.perf_counter()
        for window in tokens:
            llama.read(window)
        end = time.perf_counter()
        speeds["ours"].append(tokens.size / (middle - start))
        speeds["llama.cpp"].append(tokens.size / (end - middle))
    llama.close()
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    shown = ", ".join(f"{name} {statistics.median(s):.0f} tokens/s" for name, s in speeds.items())
    print(
        f"{kind:5} {shown}: {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"to reach {BOUNDS.get(kind, 1):.1f}; from float32 logits "
        + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()),
        flush=True,
    )


if __name__ == "__main__":
    for chosen in sys.argv[1:] or BOUNDS:
        measure(chosen)
