"""A whole conversion beside llama.cpp's, in turns: GGUF in f16 to a mixture, two threads each.

    python benchmarks/convert.py [--types q8_0,q4_k_m] [--gb 1] [--repeats 3] [--folder DIR]

Wall time of ``qformat convert`` as a process of its own, start and imports included, against a
process that calls ``llama_model_quantize``. Both write the same tensors; they are compared afterwards.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np
from rivals import ratio

LLAMA = """
import ctypes, sys
import llama_cpp
params = llama_cpp.llama_model_quantize_default_params()
params.ftype, params.nthread = int(sys.argv[3]), 2
given = [path.encode() for path in sys.argv[1:3]]
sys.exit(llama_cpp.llama_model_quantize(*given, ctypes.byref(params)))
"""
FILE_TYPES = {
    "q4_0": 2,
    "q4_1": 3,
    "q8_0": 7,
    "q2_k": 10,
    "q3_k_m": 12,
    "q4_k_m": 15,
    "q5_k_m": 17,
    "q6_k": 18,
}
WIDTH, INNER, VOCABULARY = 2048, 5632, 32_000
MATRICES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH // 8, WIDTH),
    "attn_v": (WIDTH // 8, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (INNER, WIDTH),
    "ffn_up": (INNER, WIDTH),
    "ffn_down": (WIDTH, INNER),
}


def make_model(path: Path, gigabytes: float) -> None:
    """A llama of random weights in f16, all of its layers the same."""
    random = np.random.default_rng(0)

    def matrix(rows: int, cols: int) -> np.ndarray:
        return (random.standard_normal((rows, cols), dtype=np.float32) * np.float32(0.02)).astype(np.float16)

    layer = {name: matrix(*shape) for name, shape in MATRICES.items()}
    head = matrix(VOCABULARY, WIDTH)
    size = sum(m.nbytes for m in layer.values())
    layers = max(1, round((gigabytes * 1e9 - 2 * head.nbytes) / size))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(1)
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(32)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    for name in ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, head)
    ones = np.ones(WIDTH, np.float32)
    writer.add_tensor("output_norm.weight", ones)
    for i in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{name}.weight", ones)
        for name, values in layer.items():
            writer.add_tensor(f"blk.{i}.{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def seconds(command: list[str], target: Path) -> float:
    target.unlink(missing_ok=True)
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def same_tensors(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors, byte for byte."""
    left, right = ({t.name: t.data for t in gguf.GGUFReader(path).tensors} for path in (one, other))
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def against_llama(spec: str, folder: Path, repeats: int) -> None:
    source, ours, theirs = (folder / f"{name}.gguf" for name in ("model", "ours", "theirs"))
    tasks = {
        "qformat": (
            [sys.executable, "-m", "qformat", "convert", str(source), str(ours), "-s", spec, "-q"],
            ours,
        ),
        "llama.cpp": (
            [sys.executable, "-c", LLAMA, str(source), str(theirs), str(FILE_TYPES[spec])],
            theirs,
        ),
    }
    took: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 1):  # the first may compile and does not count
        for name, (command, target) in tasks.items():
            spent = seconds(command, target)
            if turn:
                took[name].append(spent)
    middle = {name: statistics.median(each) for name, each in took.items()}
    print(
        f"{spec:8} qformat {middle['qformat']:5.1f} s  llama.cpp {middle['llama.cpp']:5.1f} s "
        f"{ratio(took['qformat'], took['llama.cpp'])}  "
        f"{'same tensors' if same_tensors(ours, theirs) else 'OTHER TENSORS'}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--types", default="q8_0,q4_k_m", help=f"of {', '.join(FILE_TYPES)}")
    parser.add_argument("--gb", type=float, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where the files go; a temporary folder otherwise")
    args = parser.parse_args()
    if importlib.util.find_spec("llama_cpp") is None:
        print("llama.cpp is not here: pip install llama-cpp-python")
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        make_model(folder / "model.gguf", args.gb)
        print(f"{os.cpu_count()} cores, f16 of {(folder / 'model.gguf').stat().st_size / 1e9:.2f} GB")
        for spec in args.types.split(","):
            against_llama(spec, folder, args.repeats)


if __name__ == "__main__":
    main()
