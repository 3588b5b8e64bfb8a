"""How long opening a GGUF takes and what memory it holds: qformat beside gguf-py, alternating.

The file has the key-values of a large byte-level BPE model: tokens, merges, scores and types, among
them a few tokens of more than 255 bytes, as real vocabularies have, and the tensor infos of 48 layers.

Run: ``python benchmarks/gguf_open.py [--tokens 150000] [--rounds 7] [--skip-gguf-py] [FILE]``.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ALPHABET = "etaoinshrdlucmfwypvbgkjqxzĠéß中ETAOIN0123456789_"
PER_LAYER = (
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)


def make(path: Path, count: int) -> None:
    """A vocabulary of ``count`` tokens and a model of 48 layers with small tensors."""
    from qformat.files.gguf.building import NewTensor, Typed, lay_out
    from qformat.files.gguf.types import BY_NAME, ValueType
    from qformat.files.gguf.writing import write_file

    pick = random.Random(1)
    tokens = ["".join(pick.choices(ALPHABET, k=pick.randint(1, 12))) for _ in range(count)]
    tokens[:: count // 6] = ["Ġ" * n for n in (128, 256, 512, 129, 130, 200, 1)][: len(tokens[:: count // 6])]
    merges = [f"{t[: len(t) // 2 + 1]} {t[len(t) // 2 :]}x" for t in tokens]
    pairs = [
        ("general.architecture", Typed(ValueType.STRING, "llama")),
        ("tokenizer.ggml.tokens", Typed(ValueType.STRING, tokens, array=True)),
        ("tokenizer.ggml.scores", Typed(ValueType.FLOAT32, [0.0] * count, array=True)),
        ("tokenizer.ggml.token_type", Typed(ValueType.INT32, [1] * count, array=True)),
        ("tokenizer.ggml.merges", Typed(ValueType.STRING, merges, array=True)),
        ("tokenizer.chat_template", Typed(ValueType.STRING, "{{ message }}" * 400)),
        *((f"llama.parameter.{i}", Typed(ValueType.UINT32, i)) for i in range(20)),
    ]
    tensors = [
        NewTensor(f"blk.{i}.{name}.weight", BY_NAME["q4_k"], (4, 256))
        for i in range(48)
        for name in PER_LAYER
    ]
    write_file(path, lay_out(pairs, tensors), lambda _: bytes(4 * 144), overwrite=True)


MEASURE = """
import resource, sys, time, tracemalloc
import numpy
def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
if sys.argv[1] == "qformat":
    import qformat.files.gguf.checkpoint
    from qformat.files.opening import open_checkpoint as open_file
else:
    from gguf import GGUFReader as open_file
before = rss()
start = time.perf_counter()
if sys.argv[3] == "trace":
    tracemalloc.start()
kept = open_file(sys.argv[2])
peak = tracemalloc.get_traced_memory()[1] if sys.argv[3] == "trace" else 0
first = time.perf_counter() - start
grown = rss() - before
start = time.perf_counter()
if sys.argv[1] == "qformat" and sys.argv[3] != "trace":
    kept = open_file(sys.argv[2])
print(first, time.perf_counter() - start, grown, peak)
"""


def measure(reader: str, path: Path, mode: str) -> list[float]:
    """One fresh process: seconds of the first opening and of a second one, bytes of RSS, bytes traced."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, reader, str(path), mode], check=True, capture_output=True, text=True
    )
    return [float(x) for x in done.stdout.split()]


def row(name: str, runs: list[list[float]], traced: float, again: bool) -> str:
    first, second, grown = (statistics.median(r[i] for r in runs) for i in range(3))
    later = f"{second * 1e3:9.1f} ms" if again else " " * 12
    best = min(r[0] for r in runs)
    times = f"{first * 1e3:11.1f} ms {best * 1e3:9.1f} ms {later}"
    return f"{name:8} {times} {grown / 1e6:9.1f} MB {traced / 1e6:9.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="an own file instead of the made one")
    parser.add_argument("--tokens", type=int, default=150_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-gguf-py", action="store_true", help="which takes many seconds")
    chosen = parser.parse_args()
    readers = ["qformat"] + ([] if chosen.skip_gguf_py else ["gguf-py"])
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.file or Path(folder) / "vocabulary.gguf"
        if not chosen.file:
            make(path, chosen.tokens)
        runs: dict[str, list[list[float]]] = {r: [] for r in readers}
        for _ in range(chosen.rounds):
            for reader in readers:
                runs[reader].append(measure(reader, path, "time"))
        traced = {r: measure(r, path, "trace")[3] for r in readers}
        size = path.stat().st_size
    print(f"{path.name}: {size / 1e6:.1f} MB, median of {chosen.rounds} processes, {os.cpu_count()} CPUs, "
          f"{time.strftime('%Y-%m-%d')}")  # fmt: skip
    print(f"{'':8} {'first open':>14} {'best':>12} {'once more':>12} {'RSS':>12} {'traced':>12}")
    for reader in readers:
        print(row(reader, runs[reader], traced[reader], reader == "qformat"))


if __name__ == "__main__":
    main()
