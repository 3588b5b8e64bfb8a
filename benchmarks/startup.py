"""Start-up of whole processes: ``qformat --help`` and ``qformat inspect FILE``, medians of several runs."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

RUNS = 15


def seconds(command: list[str]) -> list[float]:
    times = []
    for _ in range(RUNS + 2):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return sorted(times[2:])


def main() -> None:
    program = shutil.which("qformat", path=str(Path(sys.executable).parent)) or "qformat"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users' programs are compiled once, not each time
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model.safetensors"
        layers = {f"model.layers.{i}.w.weight": np.zeros((256, 256), np.float16) for i in range(32)}
        save_file(layers, model)
        box = Path(name) / "box.safetensors"
        subprocess.run([program, "convert", model, box, "-s", "asym4", "-q"], check=True)
        for label, args, bound in (("--help", ["--help"], 120), ("inspect FILE", ["inspect", str(box)], 350)):
            found = [t * 1000 for t in seconds([program, *args])]
            print(
                f"qformat {label:<13} median {statistics.median(found):.0f} ms "
                f"(min {found[0]:.0f}, max {found[-1]:.0f}; bound {bound})"
            )


if __name__ == "__main__":
    main()
