"""Decoding speed of ggml's block types beside gguf-py's, in one process, in turns, on the same bytes.

    python benchmarks/decode.py [--types q8_0,q4_k] [--threads 2] [--millions 56]

From records in memory to float32: tile by tile, as a conversion, a comparison or a forward pass takes them
(a tile is used while it is in the cache), and into an array that is there, where memory is the limit.
gguf-py makes a new array, for it has no other way, and works in one thread, as it does. The size is that of
the largest matrices of a model with 8 billion parameters.
"""

from __future__ import annotations

import argparse

import gguf
import numpy as np
from rivals import in_turns, ratio, speed

from qformat.blocks.tiles import tiles
from qformat.schemes import coder
from qformat.schemes.crew import in_threads
from qformat.schemes.kernels import kernel
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
    kern = kernel(scheme)
    views = {p.name: coder.plane_rows(p, planes[p.name], rows, cols) for p in kern.planes}
    cut = list(tiles(rows, cols, kern.block, kern.decode_blocks))

    def by_tiles() -> None:
        in_threads(lambda tile: coder.decode_tile(kern.layout, views, tile, cols, kern).size, cut, threads)

    tasks = {
        "tiles": by_tiles,
        "array": lambda: coder.decode(scheme, planes, out.shape, threads=threads, out=out),
        "gguf-py": lambda: gguf.quants.dequantize(records, kind),
    }
    with np.errstate(all="ignore"):
        took = in_turns(tasks, repeats)
    count = rows * cols
    print(
        f"{spec:8} gguf-py {speed(count, took['gguf-py'])}  tiles {speed(count, took['tiles'])} "
        f"{ratio(took['tiles'], took['gguf-py'])}  array {speed(count, took['array'])} "
        f"{ratio(took['array'], took['gguf-py'])}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--millions", type=int, default=56)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    for spec in args.types.split(","):
        against_gguf_py(spec, args.millions, args.threads, args.repeats)


if __name__ == "__main__":
    main()
