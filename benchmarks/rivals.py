"""What the benchmarks share: weights as models have them, ggml through ctypes, timing in turns."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np

COLS = 4096


def weights(count: int, seed: int = 0) -> np.ndarray:
    """Gaussian rows of different width with outliers, born as bfloat16: ``[count / 4096, 4096]``."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((count // COLS, COLS), dtype=np.float32) * np.float32(0.02)
    values.reshape(-1)[random.integers(0, values.size, values.size // 1000)] *= 8
    values *= np.exp(0.3 * random.standard_normal((len(values), 1))).astype(np.float32)
    out = aligned(values.shape, ml_dtypes.bfloat16)
    out[:] = values
    return out


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Memory on a 64-byte boundary, as a mapped container gives it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


class Ggml:
    """ggml's own encoders, from the folder that holds libggml-base.so."""

    def __init__(self, folder: Path) -> None:
        self.library = ctypes.CDLL(str(folder / "libggml-base.so"))
        chunk = self.library.ggml_quantize_chunk
        chunk.restype = ctypes.c_size_t
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        chunk.argtypes = [ctypes.c_int, pointer, pointer, integer, integer, integer, pointer]
        self.chunk = chunk

    def encode(self, name: str, values: np.ndarray, out: np.ndarray, threads: int) -> None:
        """Encode rows of float32 into ``out``, cut evenly among threads."""
        kind = gguf.GGMLQuantizationType[name]
        row_bytes = out.size // len(values)
        step = -(-len(values) // threads)

        def work(first: int) -> None:
            part = values[first : first + step]
            target = out[first * row_bytes :]
            self.chunk(int(kind), part.ctypes.data, target.ctypes.data, 0, len(part), part.shape[1], None)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(0, len(values), step)))


def find_ggml(folder: str | None) -> Ggml | None:
    """ggml from a folder, from $GGML_LIBDIR, or from an installed llama-cpp-python."""
    found = folder or os.environ.get("GGML_LIBDIR")
    if found:
        return Ggml(Path(found))
    spec = importlib.util.find_spec("llama_cpp")
    return Ggml(Path(spec.origin).parent / "lib") if spec and spec.origin else None


def in_turns(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each task, all of them run once per turn after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            begin = time.perf_counter()
            task()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(ours: list[float], theirs: list[float]) -> str:
    """How many times as fast as the rival we are: the median of the turns, and their range."""
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(each):6.2f}x ({min(each):.2f} to {max(each):.2f})"


def speed(count: int, seconds: list[float]) -> str:
    """Million weights per second, by the median."""
    return f"{count / statistics.median(seconds) / 1e6:7.0f} M/s"
