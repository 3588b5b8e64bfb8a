"""Encoding speed beside gguf-py and ggml, in one process, in turns, on the same weights.

    python benchmarks/encode.py [--types sym8,q4_k] [--threads 2] [--millions 32] [--ggml FOLDER]

From bfloat16 (affine schemes) or float32 (ggml's types) in memory to packed planes in memory. Beside ggml
both write to an array that is there, beside gguf-py both make a new one. gguf-py gets the same weights as
float32; its conversion does not count.
"""

from __future__ import annotations

import argparse

import gguf
import numpy as np
from rivals import aligned, find_ggml, in_turns, ratio, speed, weights

from qformat.schemes import coder
from qformat.schemes.registry import registry

GGUF_PY = {"sym8": "Q8_0", "sym4": "Q4_0", "asym4": "Q4_1"}
SLOW = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4"}
GGML = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "tq1_0", "tq2_0", *sorted(SLOW))


def against_gguf_py(spec: str, millions: int, threads: int, repeats: int) -> None:
    scheme, values = registry().parse(spec), weights(millions << 20)
    wide, kind = values.astype(np.float32), gguf.GGMLQuantizationType[GGUF_PY[spec]]
    tasks = {
        "plain": lambda: coder.encode(scheme, values, threads=threads),
        "gguf-py": lambda: gguf.quants.quantize(wide, kind),
        "figures": lambda: coder.encode(scheme, values, threads=threads, figures=True),
    }
    took = in_turns(tasks, repeats)
    print(
        f"{spec:8} {speed(values.size, took['plain'])}  gguf-py {GGUF_PY[spec]} "
        f"{speed(values.size, took['gguf-py'])} {ratio(took['plain'], took['gguf-py'])}  "
        f"with figures {ratio(took['figures'], took['plain'])}",
        flush=True,
    )


def against_ggml(spec: str, millions: int, threads: int, repeats: int, folder: str | None) -> None:
    rival = find_ggml(folder)
    if rival is None:
        print(f"{spec:8} ggml is not here: pip install llama-cpp-python, or --ggml FOLDER")
        return
    scheme, born = registry().parse(spec), weights(millions << 20)
    values = aligned(born.shape, np.float32)
    values[:] = born
    out = np.zeros(values.size // scheme.block_size * scheme.layout().size, np.uint8)
    ours = {"blocks": np.zeros_like(out)}
    tasks = {
        "ours": lambda: coder.encode(scheme, values, threads=threads, out=ours),
        "ggml": lambda: rival.encode(spec.upper(), values, out, threads),
    }
    took = in_turns(tasks, repeats)
    same = np.array_equal(ours["blocks"], out)
    print(
        f"{spec:8} {speed(values.size, took['ours'])}  ggml {speed(values.size, took['ggml'])} "
        f"{ratio(took['ours'], took['ggml'])}  {'same bits' if same else 'OTHER BITS'}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--types", default=",".join((*GGUF_PY, *GGML)))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--millions", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--ggml", help="the folder that holds libggml-base.so")
    args = parser.parse_args()
    for spec in args.types.split(","):
        if spec in GGUF_PY:
            against_gguf_py(spec, args.millions, args.threads, args.repeats)
        else:
            millions = max(4, args.millions // 8) if spec in SLOW else args.millions
            against_ggml(spec, millions, args.threads, args.repeats, args.ggml)


if __name__ == "__main__":
    main()
