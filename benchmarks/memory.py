"""Peak memory of a conversion: what ``qformat convert`` holds beyond an interpreter with jax loaded.

Makes a synthetic bfloat16 checkpoint (4 GB by default) in a temporary folder, converts it in a
process of its own, and samples that process's anonymous resident memory (RssAnon, which leaves
file-backed pages out) every 20 ms. The baseline is the same reading after ``import jax`` and one
small computation.

    python benchmarks/memory.py [--gb 4] [--scheme asym4] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np

ROWS, COLS = 16_384, 8_192  # 268 MB a tensor, as a large model's feed-forward has

BASELINE = "import jax, jax.numpy as jnp; jnp.ones(8).sum().block_until_ready(); "
STATUS = "print(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1])"


def make_checkpoint(path: Path, gigabytes: float) -> None:
    """Random weights, written as they are made."""
    count = max(1, round(gigabytes * 1e9 / (ROWS * COLS * 2)))
    size = ROWS * COLS * 2
    header = {
        f"model.layers.{i}.mlp.up_proj.weight": {
            "dtype": "BF16",
            "shape": [ROWS, COLS],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(count)
    }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((ROWS, COLS), dtype=np.float32) * 0.02
    piece = values.astype(ml_dtypes.bfloat16).tobytes()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(count):
            file.write(piece)


def baseline() -> int:
    command = [sys.executable, "-c", BASELINE + STATUS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def anonymous(pid: int) -> int:
    """RssAnon in kB; 0 once the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=4)
    parser.add_argument("--scheme", default="asym4")
    parser.add_argument("--folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        source, target = Path(name) / "model.safetensors", Path(name) / "out.safetensors"
        make_checkpoint(source, args.gb)
        base = baseline()
        start, peak = time.perf_counter(), 0
        command = [sys.executable, "-m", "qformat", "convert", source, target, "-s", args.scheme, "-q"]
        with subprocess.Popen(command) as process:
            while process.poll() is None:
                peak = max(peak, anonymous(process.pid))
                time.sleep(0.02)
        assert process.returncode == 0
        seconds = time.perf_counter() - start
        gigabytes = source.stat().st_size / 1e9
        made = target.stat().st_size / 1e9
        print(f"source {gigabytes:.2f} GB, {args.scheme}: {made:.2f} GB in {seconds:.1f} s")
        print(f"anonymous memory: interpreter with jax {base / 1024:.0f} MB, peak {peak / 1024:.0f} MB")
        print(f"above the interpreter: {(peak - base) / 1024:.0f} MB (bound: 600 MB)")


if __name__ == "__main__":
    main()
