"""``qformat diff``."""

from __future__ import annotations

from typing import Any

import click

from qformat.cli.progress import bar
from qformat.cli.text import counted, show, show_json, table

_EXAMPLE = """
\b
Examples:
  qformat diff ./Llama-3.2-1B llama-4bit.safetensors
  qformat diff ./Llama-3.2-1B llama-q4.gguf --tensor blk.0.attn_q.weight
"""


@click.command(epilog=_EXAMPLE)
@click.argument("original", type=click.Path())
@click.argument("other", type=click.Path())
@click.option("--limit", type=click.IntRange(1), help="Only so many tensors, the worst first.")
@click.option("-t", "--tensor", metavar="NAME", help="One tensor, block by block: those that differ most.")
@click.option("--all", "everything", is_flag=True, help="List tensors that are the same, too.")
@click.option("--fail-on-diff", is_flag=True, help="Exit with 1 if anything differs.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Worker threads; by default one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def diff(original: str, other: str, **options: Any) -> None:
    """Compare two checkpoints tensor by tensor, worst first.

    ORIGINAL and OTHER may be of any format; Hugging Face's and GGUF's names are matched, and OTHER's
    are shown. The figures are relative RMSE (of the error, against
    the original's), signal-to-noise ratio, largest error, and cosine similarity.
    """
    from qformat.convert.diff import diff as compare
    from qformat.files.opening import open_checkpoint
    from qformat.schemes.cores import cores

    if options["tensor"] is not None:
        _show_blocks(original, other, options["tensor"], options["limit"] or 10, as_json=options["as_json"])
        return
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


def _show_blocks(original: str, other: str, tensor: str, limit: int, *, as_json: bool) -> None:
    from qformat.cli.tensor_view import find_tensor
    from qformat.convert.diff import SCHEMA, paired
    from qformat.convert.diff_blocks import worst_blocks
    from qformat.files.opening import open_checkpoint

    left, right = paired(open_checkpoint(original), open_checkpoint(other))
    find_tensor(right if tensor not in left.tensors else left, tensor)
    found = worst_blocks(left, right, tensor, limit)
    if as_json:
        show_json({"schema": SCHEMA, "tensor": tensor, "blocks": [b.to_json() for b in found]})
        return
    rows = [
        [
            f"{b.index:,}", f"{b.row:,}", f"{b.first:,} to {b.first + b.size - 1:,}", f"{b.rmse:.4g}",
            "-" if b.relative_rmse is None else f"{b.relative_rmse:.4f}", f"{b.max:.4g}",
        ]
        for b in found
    ]  # fmt: skip
    show(table(rows, ["block", "row", "columns", "RMSE", "rel. RMSE", "max error"], right=(0, 1, 3, 4, 5)))


def _show(found: Any, limit: int | None, *, everything: bool) -> None:
    rows = [r for r in found.rows if everything or r.differs]
    cells = [_cells(r) for r in rows[:limit]]
    if cells:
        headers = ["tensor", "original", "other", "rel. RMSE", "SNR dB", "max error", "cosine"]
        show(table(cells, headers, right=(3, 4, 5, 6)))
        show()
    same = sum(not r.differs for r in found.rows)
    many = counted(len(found.rows), "tensor")
    summary = f"{many}: {same:,} with the same values, {len(found.rows) - same:,} different"
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
