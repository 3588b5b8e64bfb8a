"""``qformat inspect``."""

from __future__ import annotations

import collections
import fnmatch
import re
from typing import TYPE_CHECKING, Any

import click

from qformat.cli.text import line, shape, show, show_json, size, table

if TYPE_CHECKING:
    from qformat.files.checkpoint import Checkpoint, TensorInfo

SCHEMA = 1

_EXAMPLE = """
\b
Examples:
  qformat inspect model.safetensors
  qformat inspect model.safetensors --filter '*.0.*' --sort bytes
  qformat inspect model.safetensors --tensor model.layers.0.mlp.up_proj.weight --block 7
"""

_SORTS = {
    "file": None,
    "name": lambda t: _natural(t.name),
    "bytes": lambda t: -t.nbytes,
    "elements": lambda t: -t.elements,
    "bpw": lambda t: -t.bpw,
    "scheme": lambda t: t.coding,
    "error": lambda t: -_error(t),
}


@click.command(epilog=_EXAMPLE)
@click.argument("path", type=click.Path())
@click.option("--summary", is_flag=True, help="Only the summary, no table of tensors.")
@click.option("--metadata", is_flag=True, help="Show the file's metadata instead of its tensors.")
@click.option(
    "-f",
    "--filter",
    "pattern",
    metavar="TEXT",
    help="Only tensors whose name contains TEXT, or matches it as a glob.",
)
@click.option(
    "--sort", type=click.Choice(list(_SORTS)), default="file", show_default=True, help="Order of the table."
)
@click.option("--limit", type=click.IntRange(1), help="At most so many rows.")
@click.option("-t", "--tensor", metavar="NAME", help="One tensor: planes, statistics, histogram.")
@click.option("-b", "--block", type=int, metavar="I", help="With --tensor: one block taken apart.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def inspect(path: str, **options: Any) -> None:
    """Show what is inside a model file: summary, tensors, metadata, one tensor, one block.

    Only the header is read, unless a tensor is asked for.
    """
    from qformat.files.opening import open_checkpoint

    checkpoint = open_checkpoint(path)
    if options["tensor"] is not None:
        from qformat.cli.tensor_view import show_tensor

        show_tensor(checkpoint, options["tensor"], options["block"], as_json=options["as_json"])
        return
    if options["block"] is not None:
        raise click.UsageError("--block needs --tensor NAME.")
    tensors = _chosen(checkpoint, options["pattern"], options["sort"], options["limit"])
    if options["as_json"]:
        show_json(_json(checkpoint, tensors))
        return
    if options["metadata"]:
        _show_metadata(checkpoint)
        return
    _show_summary(checkpoint)
    if not options["summary"]:
        show()
        _show_tensors(tensors)


def _chosen(checkpoint: Checkpoint, pattern: str | None, sort: str, limit: int | None) -> list[TensorInfo]:
    tensors = list(checkpoint.tensors.values())
    if pattern is not None:
        tensors = [t for t in tensors if pattern in t.name or fnmatch.fnmatchcase(t.name, pattern)]
    key = _SORTS[sort]
    if key is not None:
        tensors.sort(key=key)
    return tensors[:limit]


def _natural(name: str) -> list[tuple[int, int | str]]:
    """layers.2 before layers.10."""
    return [(0, int(p)) if p.isdigit() else (1, p) for p in re.split(r"(\d+)", name)]


def _error(info: TensorInfo) -> float:
    """The recorded relative error, or -1."""
    try:
        return float(info.note["error"]["rmse"]) if info.note else -1.0
    except (KeyError, TypeError, ValueError):
        return -1.0


def _totals(checkpoint: Checkpoint) -> tuple[int, int]:
    tensors = checkpoint.tensors.values()
    return sum(t.elements for t in tensors), sum(t.nbytes for t in tensors)


def _by_coding(checkpoint: Checkpoint) -> dict[str, tuple[int, int, int]]:
    """Scheme with options, or dtype -> tensors, elements, bytes; largest first."""
    found: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0, 0])
    for info in checkpoint.tensors.values():
        group = found[info.scheme.spec() if info.scheme else info.coding]
        group[0] += 1
        group[1] += info.elements
        group[2] += info.nbytes
    return {k: (v[0], v[1], v[2]) for k, v in sorted(found.items(), key=lambda item: -item[1][2])}


def _show_summary(checkpoint: Checkpoint) -> None:
    elements, nbytes = _totals(checkpoint)
    disk = sum(f.stat().st_size for f in checkpoint.files)
    files = f"{len(checkpoint.files)} files, " if len(checkpoint.files) > 1 else ""
    facts = [
        ("file", str(checkpoint.path)),
        (
            "format",
            {"qformat": "qformat container", "gguf": "GGUF"}.get(checkpoint.format, checkpoint.format),
        ),
        ("size", f"{files}{disk:,} bytes ({size(disk)})"),
        ("tensors", f"{len(checkpoint.tensors):,}"),
        ("parameters", f"{elements:,}"),
        ("bits per weight", f"{nbytes * 8 / elements:.3f}" if elements else "-"),
    ]
    if checkpoint.attachments:
        facts.append(("attached", ", ".join(checkpoint.attachments)))
    facts += _provenance(checkpoint)
    for name, value in facts:
        show(f"{name + ':':<17} {line(value)}")
    show()
    rows = [
        (name, f"{n:,}", f"{count:,}", f"{total:,}", f"{total * 8 / count:.3f}" if count else "-")
        for name, (n, count, total) in _by_coding(checkpoint).items()
    ]
    show(table(rows, ["scheme or type", "tensors", "elements", "bytes", "bpw"], right=(1, 2, 3, 4)))


def _provenance(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    if checkpoint.format != "qformat":
        return []
    import json

    value = json.loads(checkpoint.metadata["qformat.provenance"])
    tools = value.get("tools", {}) if isinstance(value, dict) else {}
    made = ", ".join(f"{k} {v}" for k, v in tools.items()) if isinstance(tools, dict) else ""
    return [("made by", made), ("content digest", checkpoint.metadata["qformat.content"])]


def _show_tensors(tensors: list[TensorInfo]) -> None:
    errors = any(_error(t) >= 0 for t in tensors)
    headers = ["tensor", "shape", "type", "scheme", "bytes", "bpw", *(["rel. RMSE"] if errors else [])]
    rows = []
    for info in tensors:
        cells = [info.name, shape(info.shape), info.dtype, info.scheme.id if info.scheme else "-"]
        cells += [f"{info.nbytes:,}", f"{info.bpw:.3f}"]
        rows.append(cells + ([f"{_error(info):.4f}" if _error(info) >= 0 else ""] if errors else []))
    show(table(rows, headers, right=(4, 5, 6) if errors else (4, 5)))


def _show_metadata(checkpoint: Checkpoint) -> None:
    for key, value in checkpoint.metadata.items():
        show(f"{line(key)}: {line(value)}")


def tensor_json(info: TensorInfo) -> dict[str, Any]:
    """What is known of a tensor without reading it."""
    scheme = info.scheme
    return {
        "name": info.name,
        "shape": list(info.shape),
        "dtype": info.dtype,
        "scheme": {"id": scheme.id, "version": scheme.version, "options": dict(scheme.options)}
        if scheme
        else None,
        "bytes": info.nbytes,
        "bits_per_weight": round(info.bpw, 4),
        "planes": [
            {
                "name": name,
                "dtype": p.dtype,
                "shape": list(p.shape),
                "file": p.file.name,
                "data_offset": p.data_offset,
                "bytes": p.nbytes,
            }
            for name, p in info.planes.items()
        ],
        "note": info.note,
    }


def _json(checkpoint: Checkpoint, tensors: list[TensorInfo]) -> dict[str, Any]:
    elements, nbytes = _totals(checkpoint)
    return {
        "schema": SCHEMA,
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "files": [{"name": f.name, "bytes": f.stat().st_size} for f in checkpoint.files],
        "parameters": elements,
        "bits_per_weight": round(nbytes * 8 / elements, 4) if elements else None,
        "schemes": [
            {"scheme": name, "tensors": n, "elements": count, "bytes": total}
            for name, (n, count, total) in _by_coding(checkpoint).items()
        ],
        "attachments": [{"name": k, "bytes": v} for k, v in checkpoint.attachments.items()],
        "metadata": dict(checkpoint.metadata),
        "tensors": [tensor_json(t) for t in tensors],
    }
