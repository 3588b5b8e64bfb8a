"""The tour that ``make demo`` gives: the sample model to 4 bits, looked at, compared, verified."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = Path(__file__).parent / "village"


def run(*args: object) -> None:
    """Show a command as a user would type it, then run it."""
    print("\n$ qformat", *args, flush=True)
    subprocess.run([sys.executable, "-m", "qformat", *map(str, args)], check=True)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="qformat-demo-"))
    target = folder / "village-asym4.safetensors"
    tensor = "model.layers.0.mlp.down_proj.weight"
    try:
        run("convert", MODEL, target, "-s", "asym4")
        run("inspect", target, "--summary")
        run("inspect", target, "--tensor", tensor, "--block", 0)
        run("diff", MODEL, target, "--limit", 8)
        run("verify", target, "--source", MODEL)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
