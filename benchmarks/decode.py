"""Decoding speed of ggml's block types beside gguf-py's, in one process, in turns, on the same bytes.

    python benchmarks/decode.py [--types q8_0,q4_k] [--threads 2] [--millions 16]

From records in memory to float32 in an array that is there. gguf-py makes a new one, for it has no other way,
and works in one thread, as it does.
"""

from __future__ import annotations

import argparse

import gguf
import numpy as np
from rivals import in_turns, ratio, speed

from qformat.schemes import coder
from qformat.schemes.registry import registry

TYPES = (
    *("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"),
    *("iq4_nl", "iq4_xs", "mxfp4", "nvfp4", "tq1_0", "tq2_0"),
    *("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s"),
)


def against_gguf_py(spec: str, millions: int, threads: int, repeats: int) -> None:
    scheme, kind = registry().parse(spec), gguf.GGMLQuantizationType[spec.upper()]
    size, cols = scheme.layout().size, 4096
    rows = (millions << 20) // cols
    random = np.random.default_rng(0)
    records = random.integers(0, 64, (rows, cols // scheme.block_size * size), dtype=np.uint8)
    planes, out = {"blocks": records.reshape(-1)}, np.zeros((rows, cols), np.float32)
    tasks = {
        "ours": lambda: coder.decode(scheme, planes, out.shape, threads=threads, out=out),
        "gguf-py": lambda: gguf.quants.dequantize(records, kind),
    }
    with np.errstate(all="ignore"):
        took = in_turns(tasks, repeats)
    count = rows * cols
    print(
        f"{spec:8} {speed(count, took['ours'])}  gguf-py {speed(count, took['gguf-py'])} "
        f"{ratio(took['ours'], took['gguf-py'])}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--millions", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    for spec in args.types.split(","):
        against_gguf_py(spec, args.millions, args.threads, args.repeats)


if __name__ == "__main__":
    main()
