"""A sweep of 12 schemes beside 12 conversions and evaluations one at a time, on the sample model.

Both sides run as commands, in processes of their own, on the same windows of the held-out text.
Without ``--windows`` the whole text is read.

    python benchmarks/sweep.py [--windows N] [--rounds 1]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLES = Path(__file__).parent.parent / "samples"
MODEL, TEXT = SAMPLES / "village", SAMPLES / "heldout.txt"
PLANAR = ("sym8", "asym8", "sym4", "asym4", "sym2", "asym2")
GGUF = ("q8_0", "q4_0", "q4_1", "q4_k_m", "q2_k")


def qformat(*args: object) -> None:
    subprocess.run([sys.executable, "-m", "qformat", *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def one_at_a_time(folder: Path, options: list[object]) -> float:
    start = time.perf_counter()
    for scheme in ("bf16", *PLANAR, *GGUF):
        if scheme == "bf16":
            target = folder / "bf16"
            how: list[object] = ["--to", "safetensors", "--dtype", "bf16"]
        else:
            target = folder / f"{scheme}.{'gguf' if scheme in GGUF else 'safetensors'}"
            how = ["-s", scheme]
        qformat("convert", MODEL, target, *how, "-q")
        qformat("eval", target, "--against", MODEL, "--text", TEXT, "--json", *options)
    return time.perf_counter() - start


def together(options: list[object]) -> float:
    start = time.perf_counter()
    schemes = [x for s in ("bf16", *PLANAR, *GGUF) for x in ("-s", s)]
    qformat("sweep", MODEL, *schemes, "--text", TEXT, "--json", *options)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    options: list[object] = ["--windows", args.windows] if args.windows else []
    ratios = []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as name:
            apart = one_at_a_time(Path(name), options)
        swept = together(options)
        ratios.append(swept / apart)
        print(f"12 conversions and evaluations {apart:.1f} s, one sweep {swept:.1f} s: {swept / apart:.2f}")
    print(
        f"median ratio {statistics.median(ratios):.2f} (bound: 0.50), {min(ratios):.2f} to {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
