"""Fill the table in docs/measured.md from ``qformat sweep``: ``python docs/make_sweep.py`` (some minutes)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from qformat.schemes.registry import registry

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "measured.md"
BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"
# Beside every scheme with its default options: what belongs beside another of the same size.
ALSO = (
    "asym4:block=64,zero=min", "asym3:block=64,zero=min", "asym2:block=64,zero=min",
    "hqq:bits=3", "hqq:bits=2", "fp8:format=e5m2", "mxfp8:format=e5m2",
)  # fmt: skip


def swept() -> list[dict[str, Any]]:
    """The rows of the sweep, smallest first."""
    specs = [kind.id for kind, plugin in registry().schemes() if kind.encodes and plugin.ours]
    command = [
        sys.executable,
        "-m",
        "qformat",
        "sweep",
        "samples/village",
        "--text",
        "samples/heldout.txt",
        "--json",
    ]
    for spec in (*specs, *ALSO):
        command += ["-s", spec]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    rows = [row for row in json.loads(done.stdout)["rows"] if row["divergence"]]
    return sorted(rows, key=lambda row: (row["bits_per_weight"], row["divergence"]["kl"]["mean"]["value"]))


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    kl = row["divergence"]["kl"]["mean"]
    half = (kl["high"] - kl["low"]) / 2
    star = " *" if row["pareto"] else ""
    return (
        f"| `{row['scheme']}`{star} | {row['bits_per_weight']:.3f} | {row['perplexity']['value']:.4f} "
        f"| {kl['value']:.2e} ± {half:.1e} |\n"
    )


def main() -> None:
    table = "| scheme | bits per weight | perplexity | mean KL divergence |\n|---|---|---|---|\n"
    table += "".join(line(row) for row in swept())
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
