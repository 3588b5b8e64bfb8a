"""``qformat imatrix``."""

from __future__ import annotations

from typing import Any

import click

from qformat.cli.text import counted, line, say, show, show_json

SCHEMA = 1

_EXAMPLE = """
\b
Examples:
  qformat imatrix ./Llama-3.2-1B --text calibration.txt -o llama.imatrix.gguf
  qformat convert ./Llama-3.2-1B llama-q4.gguf -s q4_k_m --imatrix llama.imatrix.gguf
"""


@click.command(epilog=_EXAMPLE)
@click.argument("model", type=click.Path())
@click.option("--text", required=True, type=click.Path(), metavar="FILE", help="The text to run, UTF-8.")
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="FILE", help="The file to write, a GGUF."
)
@click.option("--ctx", type=click.IntRange(2), metavar="N", help="Tokens of a window; by default 512.")
@click.option(
    "--windows", "limit", type=click.IntRange(1), metavar="N", help="Use only so many windows of the text."
)
@click.option("--tokenizer", type=click.Path(), metavar="PATH", help="A model that has the tokenizer.")
@click.option(
    "--dtype",
    type=click.Choice(["f32", "bf16"], case_sensitive=False),
    default="f32",
    show_default=True,
    help="What the model is computed in.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no report.")
def imatrix(model: str, **options: Any) -> None:
    """Collect what MODEL's matrices are multiplied with, over a text, for `convert --imatrix`.

    MODEL is a checkpoint of any format with a tokenizer; best the original, not a quantized one. The
    file has the mean squares of each input, as llama.cpp's own tools write and read them. Some
    hundred windows of text like what the model will be used for will do.
    """
    from qformat.cli.progress import tokens
    from qformat.evaluate.importance import collect

    as_json, quiet = options.pop("as_json"), options.pop("quiet")
    with tokens("collecting", quiet=quiet) as progress:
        found = collect(model, **options, progress=progress)
    for name in found.unseen:
        say(f"warning: {name}: no token of the text went to some of its experts, which count alike")
    if as_json:
        show_json(
            {
                "schema": SCHEMA,
                "output": str(found.path),
                "entries": found.entries,
                "windows": found.windows,
                "ctx": found.ctx,
                "unseen": list(found.unseen),
            }
        )
    elif not quiet:
        seen = f"{counted(found.windows, 'window')} of {counted(found.ctx, 'token')}"
        show(f"{line(found.path)}: {counted(found.entries, 'matrix', 'matrices')}, from {seen}")
