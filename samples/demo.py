"""The tour that ``make demo`` gives: the sample model to 4 bits, looked at, compared, verified, and swept."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODEL = "samples/village"
TARGET = "build/demo/village-asym4.safetensors"
TENSOR = "model.layers.0.mlp.down_proj.weight"

PAGE = "build/demo/sweep.html"
SCHEMES = (
    *("bf16", "sym8", "asym8", "sym4", "asym4", "sym2", "asym2"),
    *("q8_0", "q4_0", "q4_1", "q4_k_m", "q2_k"),
)
SWEEP = (
    *("sweep", MODEL, *(part for scheme in SCHEMES for part in ("-s", scheme))),
    *("--text", "samples/heldout.txt", "--windows", "24", "--quiz", "samples/quiz.jsonl"),
    *("--prompt", "One morning in Elderby, Orla"),
    *("--folder", "build/demo/sweep", "--html", PAGE, "--overwrite"),
)
STEPS = (
    ("convert", MODEL, TARGET, "-s", "asym4", "--overwrite"),
    ("inspect", TARGET, "--summary"),
    ("inspect", TARGET, "--tensor", TENSOR, "--block", "0"),
    ("diff", MODEL, TARGET, "--limit", "8"),
    ("verify", TARGET, "--source", MODEL),
    SWEEP,
)


def main() -> None:
    (ROOT / TARGET).parent.mkdir(parents=True, exist_ok=True)
    for step in STEPS:
        print("\n$ qformat", shlex.join(step), flush=True)
        subprocess.run([sys.executable, "-m", "qformat", *step], check=True, cwd=ROOT)
    print(f"\nThe container stays in {TARGET}: look further with .venv/bin/qformat inspect {TARGET}")
    print(f"The sweep as a page: {(ROOT / PAGE).resolve()}")


if __name__ == "__main__":
    main()
