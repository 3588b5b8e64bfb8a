"""``qformat inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qformat.cli.text import line, say, show, show_json, table
from qformat.inspect.listing import HEADERS, SORTS, cells, chosen, recorded_error

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


@click.command(epilog=_EXAMPLE)
@click.argument("path", type=click.Path())
@click.option("--summary", is_flag=True, help="Only the summary, no table of tensors.")
@click.option("--model", is_flag=True, help="Add what model it is and the memory that running it takes.")
@click.option("--metadata", is_flag=True, help="Show the file's metadata instead of its tensors.")
@click.option(
    "-f",
    "--filter",
    "pattern",
    metavar="TEXT",
    help="Only tensors whose name contains TEXT, or matches it as a glob.",
)
@click.option(
    "--sort", type=click.Choice(list(SORTS)), default="file", show_default=True, help="Order of the table."
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
    tensors = chosen(checkpoint, options["pattern"], options["sort"], options["limit"])
    if not tensors and options["pattern"] is not None:
        say(f"no tensor matches {line(options['pattern'])}")
    if options["sort"] == "error" and tensors and all(recorded_error(t) < 0 for t in tensors):
        say("no errors are recorded in this file: the order is the file's own")
    if options["as_json"]:
        show_json(_json(checkpoint, tensors, model=options["model"]))
        return
    if options["metadata"]:
        _show_metadata(checkpoint)
        return
    _show_summary(checkpoint, model=options["model"])
    if tensors and not options["summary"]:
        show()
        _show_tensors(tensors)


def _show_facts(facts: list[tuple[str, str]]) -> None:
    for name, value in facts:
        show(f"{name + ':':<17} {line(value)}")


def _show_summary(checkpoint: Checkpoint, *, model: bool) -> None:
    from qformat.inspect.summary import GROUP_HEADERS, summarize

    found = summarize(checkpoint)
    _show_facts(found.facts())
    if model:
        from qformat.inspect.model import model_facts

        _show_facts(model_facts(checkpoint).facts())
    show()
    show(table([g.cells() for g in found.groups], GROUP_HEADERS, right=(1, 2, 3, 4)))


def _show_tensors(tensors: list[TensorInfo]) -> None:
    rows = [cells(info) for info in tensors]
    last = len(HEADERS) if any(row[-1] for row in rows) else len(HEADERS) - 1  # errors, if there are any
    show(table([row[:last] for row in rows], HEADERS[:last], right=range(4, last)))


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


def _json(checkpoint: Checkpoint, tensors: list[TensorInfo], *, model: bool) -> dict[str, Any]:
    from qformat.inspect.summary import summarize

    found = summarize(checkpoint)
    value = {
        "schema": SCHEMA,
        "path": found.path,
        "format": found.format,
        "files": [{"name": name, "bytes": nbytes} for name, nbytes in found.files.items()],
        "parameters": found.parameters,
        "bits_per_weight": None if found.bpw is None else round(found.bpw, 4),
        "schemes": [
            {"scheme": g.coding, "tensors": g.tensors, "elements": g.elements, "bytes": g.nbytes}
            for g in found.groups
        ],
        "attachments": [{"name": k, "bytes": v} for k, v in checkpoint.attachments.items()],
        "metadata": dict(checkpoint.metadata),
        "tensors": [tensor_json(t) for t in tensors],
    }
    if model:
        from qformat.inspect.model import model_facts

        value["model"] = model_facts(checkpoint).to_json()
    return value
