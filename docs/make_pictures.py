"""Make the pictures in the README from the program's own output: ``python docs/make_pictures.py``."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
BOX = "build/demo/village-asym4.safetensors"
TENSOR = "model.layers.0.mlp.down_proj.weight"

SHOWN = (
    ("inspect", BOX, "--summary"),
    ("inspect", BOX, "--tensor", TENSOR, "--block", "0"),
)


def main() -> None:
    console = Console(record=True, width=124, file=io.StringIO())
    for args in SHOWN:
        done = subprocess.run(
            [sys.executable, "-m", "qformat", *args], cwd=ROOT, capture_output=True, text=True, check=True
        )
        lines = done.stdout.splitlines()
        shown = lines if len(lines) < 34 else [*lines[:30], "      …"]
        console.print(Text("$ qformat " + " ".join(args), style="bold green"))
        console.print(Text("\n".join(shown) + "\n"))
    (ROOT / "docs" / "inspect.svg").write_text(console.export_svg(title="qformat", unique_id="qformat"))


if __name__ == "__main__":
    main()
