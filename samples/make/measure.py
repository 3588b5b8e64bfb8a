"""What each scheme costs the sample: the table in the samples' README.

    python -m samples.make.measure [--write]

Converts the sample with every scheme and measures each with `qformat.evaluate` against the original
on the whole held-out text. GGUF's types are measured as GGUF files, the others as containers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import qformat
from qformat.evaluate.sweep_table import plus_minus

SAMPLES = Path(__file__).parent.parent
MODEL, TEXT, README = SAMPLES / "village", SAMPLES / "heldout.txt", SAMPLES / "README.md"
PLANAR = ("sym8", "asym8", "sym4", "asym4", "sym2", "asym2")
GGUF = ("q8_0", "q4_0", "q4_1", "q4_k_m", "q2_k")
BEGIN, END = "<!-- measured -->\n", "<!-- end -->\n"


def row(scheme: str, folder: Path) -> tuple[str, Any]:
    path = folder / f"{scheme}.{'gguf' if scheme in GGUF else 'safetensors'}"
    qformat.convert(MODEL, path, scheme, to="gguf" if scheme in GGUF else "qformat")
    found = qformat.evaluate(path, MODEL, text=TEXT)
    d = found.divergence
    assert d is not None
    cells = [
        f"`{scheme}`",
        f"{found.model.bpw:.2f}",
        plus_minus(found.model.alone.perplexity),
        plus_minus(d.ratio),
        plus_minus(d.kl.mean),
        f"{d.kl.percentiles[99]:.3g}",
        plus_minus(d.same_top, 100),
    ]
    return "| " + " | ".join(cells) + " |", found


def main() -> None:
    lines = [
        "| scheme | bpw | perplexity | ÷ original's | mean KL, nats | 99% KL | same top, % |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        for scheme in (*PLANAR, *GGUF):
            line, found = row(scheme, Path(name))
            if len(lines) == 2:
                base = found.original
                lines.append(f"| bf16 | {base.bpw:.2f} | {plus_minus(base.alone.perplexity)} | | | | |")
            lines.append(line)
            print(line, flush=True)
    table = "\n".join(lines) + "\n"
    if "--write" in sys.argv:
        text = README.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        README.write_text(before + BEGIN + table + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
