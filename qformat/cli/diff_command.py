"""``qformat diff``."""

from __future__ import annotations

from typing import Any

import click

from qformat.cli.progress import bar
from qformat.cli.text import show, show_json, table

_EXAMPLE = """
\b
Example:
  qformat diff ./Llama-3.2-1B llama-4bit.safetensors
"""


@click.command(epilog=_EXAMPLE)
@click.argument("original", type=click.Path())
@click.argument("other", type=click.Path())
@click.option("--limit", type=click.IntRange(1), help="Only so many tensors, the worst first.")
@click.option("--all", "everything", is_flag=True, help="List tensors that are the same, too.")
@click.option("--fail-on-diff", is_flag=True, help="Exit with 1 if anything differs.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Worker threads; by default one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def diff(original: str, other: str, **options: Any) -> None:
    """Compare two checkpoints tensor by tensor, worst first.

    ORIGINAL and OTHER may be of any format. The figures are relative RMSE (of the error, against
    the original's), signal-to-noise ratio, largest error, and cosine similarity.
    """
    from qformat.convert.diff import diff as compare
    from qformat.files.opening import open_checkpoint
    from qformat.schemes.cores import cores

    pair = open_checkpoint(original), open_checkpoint(other)
    total = sum(i.nbytes for checkpoint in pair for i in checkpoint.tensors.values())
    with bar("comparing", total, quiet=options["as_json"]) as progress:
        found = compare(*pair, threads=options["threads"] or cores(), progress=progress)
    if options["as_json"]:
        show_json(found.to_json())
    else:
        _show(found, options["limit"], everything=options["everything"])
    if options["fail_on_diff"] and not found.same:
        raise click.exceptions.Exit(1)


def _show(found: Any, limit: int | None, *, everything: bool) -> None:
    rows = [r for r in found.rows if everything or r.differs]
    cells = [_cells(r) for r in rows[:limit]]
    if cells:
        headers = ["tensor", "original", "other", "rel. RMSE", "SNR dB", "max error", "cosine"]
        show(table(cells, headers, right=(3, 4, 5, 6)))
        show()
    same = sum(not r.differs for r in found.rows)
    summary = f"{len(found.rows)} tensors: {same} with the same values, {len(found.rows) - same} different"
    if found.total is not None and not found.same:
        f = found.total
        summary += f"; over all: relative RMSE {f.rmse:.4f}, SNR {f.snr:.2f} dB, cosine {f.cosine:.6f}"
    show(summary)


def _cells(row: Any) -> list[str]:
    left = row.left.coding if row.left else "-"
    right = row.right.coding if row.right else "-"
    if row.figures is None:
        return [row.name, left, right, row.note or "bytes differ", "", "", ""]
    f = row.figures
    return [row.name, left, right, f"{f.rmse:.4f}", f"{f.snr:.2f}", f"{f.max:.4g}", f"{f.cosine:.6f}"]
