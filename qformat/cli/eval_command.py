"""``qformat eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qformat.cli.text import counted, say, show_json

_EXAMPLE = """
\b
Example:
  qformat eval llama-4bit.safetensors --against ./Llama-3.2-1B --text wiki.test.raw
"""


class Share(click.ParamType):  # type: ignore[type-arg]
    """A share, such as 1% or 0.01."""

    name = "SHARE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        try:
            found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"{text!r} is not a share such as 1% or 0.01", param, ctx)
        if not 0 < found < 1:
            self.fail(f"{text!r} is not between 0 and 100%", param, ctx)
        return found


@click.command("eval", epilog=_EXAMPLE)
@click.argument("model", type=click.Path())
@click.option(
    "--against", metavar="ORIGINAL", type=click.Path(), help="Also measure how far it is from this one."
)
@click.option("--text", required=True, type=click.Path(), help="A UTF-8 file to read.")
@click.option(
    "--protocol",
    type=click.Choice(["window", "llama.cpp"]),
    default="window",
    show_default=True,
    help="How the text is cut; llama.cpp gives llama-perplexity's numbers.",
)
@click.option("--ctx", type=click.IntRange(2), metavar="N", help="Tokens of a window; by default 512.")
@click.option(
    "--stride",
    type=click.IntRange(1),
    metavar="N",
    help="Tokens from one window to the next; by default no overlap.",
)
@click.option(
    "--windows",
    "limit",
    type=click.IntRange(1),
    metavar="N",
    help="Use only so many windows, chosen at random.",
)
@click.option("--until", type=Share(), help="Stop when the interval is this narrow, such as 1%.")
@click.option("--by-layer", is_flag=True, help="Show what each layer adds to the divergence.")
@click.option("--by-position", is_flag=True, help="Show figures by position in the window.")
@click.option("--floor", is_flag=True, help="Also measure what bfloat16 activations alone would cost.")
@click.option(
    "--per-token",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every token's figures to a .jsonl, or the tinted text to a .html.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --per-token if it exists.")
@click.option(
    "--dtype",
    type=click.Choice(["f32", "bf16"]),
    default="f32",
    show_default=True,
    help="Type of the weights.",
)
@click.option("--tokenizer", type=click.Path(), metavar="PATH", help="A model to take the tokenizer from.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of windows and intervals."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def eval(model: str, against: str | None, **options: Any) -> None:  # noqa: A001  the command's name
    """Measure what quantization cost: perplexity, and divergence from an original.

    MODEL and ORIGINAL may be of any format. Both are streamed layer by layer, so memory does not
    depend on their size. Figures have 95% intervals (bootstrap over windows). --until stops when half
    of the interval is that share of the mean KL divergence, or of the perplexity without
    --against. Ctrl-C shows what is known so far.
    """
    from qformat.cli.eval_progress import meter
    from qformat.cli.eval_view import show_evaluation
    from qformat.evaluate.token_files import check_target, write_tokens
    from qformat.evaluate.verbs import evaluate

    as_json, by_position = options.pop("as_json"), options.pop("by_position")
    target, overwrite = options.pop("per_token"), options.pop("overwrite")
    if target is not None:
        check_target(target, overwrite=overwrite)
    with meter("measuring") as progress:
        found = evaluate(model, against, progress=progress, **options)
    for note in found.notes:
        say(f"note: {note}")
    # What was measured must not be lost with the reader of stdout, nor the figures with a full disk.
    try:
        if as_json:
            show_json(found.to_json())
        else:
            show_evaluation(found, by_position=by_position)
    finally:
        if target is not None:
            write_tokens(found, target)
            say(f"wrote {target}")
    if not found.complete and options["until"] is None and options["limit"] is None:
        say(f"interrupted: these are {found.windows} of {counted(found.protocol.windows, 'window')}")
        raise click.exceptions.Exit(130)
