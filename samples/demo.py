"""The tour that ``make demo`` gives: the sample model to 4 bits, looked at, compared, verified."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODEL = "samples/village"
TARGET = "build/demo/village-asym4.safetensors"
TENSOR = "model.layers.0.mlp.down_proj.weight"

STEPS = (
    ("convert", MODEL, TARGET, "-s", "asym4", "--overwrite"),
    ("inspect", TARGET, "--summary"),
    ("inspect", TARGET, "--tensor", TENSOR, "--block", "0"),
    ("diff", MODEL, TARGET, "--limit", "8"),
    ("verify", TARGET, "--source", MODEL),
)


def main() -> None:
    (ROOT / TARGET).parent.mkdir(parents=True, exist_ok=True)
    for step in STEPS:
        print("\n$ qformat", *step, flush=True)
        subprocess.run([sys.executable, "-m", "qformat", *step], check=True, cwd=ROOT)
    print(f"\nThe container stays in {TARGET}: look further with .venv/bin/qformat inspect {TARGET}")


if __name__ == "__main__":
    main()
