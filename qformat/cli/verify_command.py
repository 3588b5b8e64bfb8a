"""``qformat verify``."""

from __future__ import annotations

from typing import Any

import click

from qformat.cli.progress import bar
from qformat.cli.text import counted, line, say, show, show_json

SCHEMA = 1

_EXAMPLE = """
\b
Examples:
  qformat verify llama-4bit.safetensors
  qformat verify llama-4bit.safetensors --source ./Llama-3.2-1B
"""


@click.command(epilog=_EXAMPLE)
@click.argument("path", type=click.Path())
@click.option(
    "--source", type=click.Path(), help="Also recompute the recorded digests and errors from the original."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Worker threads; by default one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def verify(path: str, source: str | None, threads: int | None, as_json: bool) -> None:
    """Prove that a container is whole, to the last bit; exit with 1 if it is not.

    Every tensor is held against its digest, and the header against the content digest. Plain
    safetensors files carry no digests: for them only the structure is checked, and that is said.
    """
    from qformat.convert.verify import verify as check
    from qformat.files.opening import open_checkpoint
    from qformat.schemes.cores import cores

    checkpoint = open_checkpoint(path)
    total = sum(i.nbytes for i in checkpoint.tensors.values())
    with bar("verifying", total, quiet=as_json) as progress:
        found = check(checkpoint, source=source, threads=threads or cores(), progress=progress)
    if as_json:
        show_json(_json(found))
    else:
        _show(found, source)
    if not found.ok:
        raise click.exceptions.Exit(1)


def _show(found: Any, source: str | None) -> None:
    for fault in found.faults:
        where = f", tensor {fault.tensor!r}" if fault.tensor else ""
        say(f"{fault.file}{where}: {fault.what}")
    if not found.whole:
        say(f"DAMAGED: {counted(len(found.faults), 'fault')}")
        return
    if not found.ok:
        say(f"NOT OF THIS SOURCE: it is whole, but does not follow from {line(source)}")
        return
    what = f"{counted(found.tensors, 'tensor')}, {counted(found.bytes_checked, 'byte')}"
    if not found.has_digests:
        show(
            f"{line(found.path)}: the structure is sound ({what}); "
            "it carries no digests, so values cannot be checked"
        )
        return
    against = f", and follows from {line(source)}" if source else ""
    show(f"{line(found.path)}: whole{against} ({what})")
    show(f"content {found.content}")


def _json(found: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "path": found.path,
        "format": found.format,
        "ok": found.ok,
        "whole": found.whole,
        "has_digests": found.has_digests,
        "content": found.content,
        "tensors": found.tensors,
        "bytes": found.bytes_checked,
        "faults": [{"file": f.file, "tensor": f.tensor, "what": f.what} for f in found.faults],
    }
