"""Reading tokens: this program against llama.cpp on the same file, tokens and windows, in turn.

As many tokens as an evaluation takes through a layer before it reads the next. Ours reads and decodes
every layer from the file within the time that is measured, as an evaluation does; llama.cpp has its
model loaded. Both give the logits of each window's last token. Ours goes both ways that it has, in
float32 and with factors rounded to bfloat16 (``--dtype bf16``), which is quicker on a processor that
multiplies bfloat16 itself; the quicker one counts. llama.cpp rounds activations to its own types. How
far each is from the float32 logits of the same weights is printed too.

Usage: `python benchmarks/prefill.py [TYPE …]`, in an environment with llama-cpp-python.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from llama_model import VOCABULARY, LlamaCpp, model

from qformat.evaluate import stream
from qformat.evaluate.engine import GROUP_TOKENS
from qformat.model import open_model

LENGTH, ROUNDS, DTYPES = 512, 5, ("f32", "bf16")
WINDOWS = GROUP_TOKENS // LENGTH
BOUNDS = {"f32": 1.5, "bf16": 1.3, "q8_0": 1.5, "q4_0": 1.1, "q4_k": 1.1}
FOLDER = Path(tempfile.gettempdir()) / "qformat-bench"


def ours(path: Path, dtype: str, tokens: np.ndarray) -> np.ndarray:
    """Logits of the last token of each window, by the way that an evaluation goes.

    As in llama.cpp, the others do not leave the last layer.
    """
    opened = open_model(path, dtype)
    route = stream.Route.through(0, opened.config.layers)
    (hidden,) = stream.run([opened], [route], tokens, last=1)
    return np.asarray(opened.head().logits(hidden[:, -1]))


def measure(kind: str) -> None:
    path, tokens = (
        model(FOLDER, kind),
        np.random.default_rng(1).integers(0, VOCABULARY, (WINDOWS, LENGTH), np.int32),
    )
    llama = LlamaCpp(path, LENGTH)

    def theirs(windows: np.ndarray) -> np.ndarray:
        return np.array([llama.read(window) for window in windows])

    ways = {
        f"ours in {dtype}": partial(ours, path, dtype) for dtype in (("f32",) if kind == "f32" else DTYPES)
    }
    ways["llama.cpp"] = theirs
    found = {name: way(tokens[:2]) for name, way in ways.items()}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way(tokens)
            speeds[name].append(tokens.size / (time.perf_counter() - start))
    llama.close()
    report(kind, found, speeds)


def report(kind: str, found: dict[str, np.ndarray], speeds: dict[str, list[float]]) -> None:
    *mine, other = speeds
    best = max(mine, key=lambda name: statistics.median(speeds[name]))
    ratios = [a / b for a, b in zip(speeds[best], speeds[other], strict=True)]
    wide = found["ours in f32"]
    print(
        f"{kind:5} {best} to llama.cpp: {statistics.median(ratios):.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f}), to reach {BOUNDS.get(kind, 1):.1f}"
    )
    for name, speed in speeds.items():
        error = np.sqrt(((found[name] - wide) ** 2).mean()) / wide.std()
        print(f"      {name:11} {statistics.median(speed):5.0f} tokens/s, off by {error:.1e}", flush=True)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or BOUNDS:
        measure(chosen)
