"""``qformat sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qformat.cli.text import clean, counted, emit, line, say, show, show_json, table

if TYPE_CHECKING:
    from qformat.evaluate.sweep_result import Sweep

_EXAMPLE = """
\b
Example:
  qformat sweep ./Llama-3.2-1B -s sym8 -s asym4:block=64 -s q4_k_m --text wiki.test.raw --html sweep.html
"""


@click.command(epilog=_EXAMPLE)
@click.argument("original", type=click.Path())
@click.option(
    "-s", "--scheme", "schemes", multiple=True, required=True, metavar="SCHEME", help="A scheme; repeat."
)
@click.option("--text", required=True, type=click.Path(), help="A UTF-8 file to read.")
@click.option(
    "--protocol", type=click.Choice(["window", "llama.cpp"]), default="window", show_default=True,
    help="How the text is cut, as for `qformat eval`.",
)  # fmt: skip
@click.option("--ctx", type=click.IntRange(2), metavar="N", help="Tokens of a window; by default 512.")
@click.option(
    "--windows", "limit", type=click.IntRange(1), metavar="N", help="Use only so many windows, at random."
)
@click.option("--quiz", type=click.Path(), metavar="FILE", help="Multiple-choice questions to answer, too.")
@click.option(
    "--speed", type=click.Choice(["ours", "llama.cpp"]), is_flag=False, flag_value="ours",
    help="Also time how fast each makes tokens: here, or in llama.cpp (GGUF files only).",
)  # fmt: skip
@click.option("--prompt", metavar="TEXT", help="Let each scheme go on from this, for --html and --json.")
@click.option("--by-layer", is_flag=True, help="Also find what each layer adds; --html does so, too.")
@click.option(
    "--dtype",
    type=click.Choice(["f32", "bf16"]),
    default="f32",
    show_default=True,
    help="Type of the weights.",
)
@click.option(
    "--folder", type=click.Path(file_okay=False), metavar="DIR",
    help="Keep files and figures here, and go on from them the next time.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of windows and intervals."
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a page.")
@click.option("--overwrite", is_flag=True, help="Replace the file of --html if it exists.")
@click.option("--csv", "as_csv", is_flag=True, help="Print as CSV, with the ends of all intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def sweep(original: str, schemes: tuple[str, ...], **options: Any) -> None:
    """Measure many schemes against one original, in one table.

    Each scheme's file is made as `qformat convert` makes it: GGUF's types and mixtures as GGUF, a
    cast (bf16) as safetensors, the others as containers. All go through the text together, a
    layer at a time, and the original only once. Ctrl-C shows what is known so far; a sweep that was
    stopped goes on where it was, if it has a --folder. A star marks the schemes
    that none beats in both size and KL divergence.
    """
    from qformat.cli.eval_progress import stages
    from qformat.evaluate.page import check_target, write_whole
    from qformat.evaluate.sweep import sweep as measure
    from qformat.evaluate.sweep_page import page
    from qformat.evaluate.sweep_table import to_csv

    html, as_csv, as_json = (options.pop(name) for name in ("html", "as_csv", "as_json"))
    overwrite = options.pop("overwrite")
    options["by_layer"] |= html is not None
    if html is not None:
        check_target(html, overwrite=overwrite)
    try:
        with stages() as progress:
            found = measure(original, list(schemes), progress=progress, **options)
    except KeyboardInterrupt:
        say(_how_to_go_on(options["folder"]))
        raise
    for note in found.notes:
        say(f"note: {note}")
    # What was measured must not be lost with the reader of stdout, nor the table with a full disk.
    try:
        if as_json:
            show_json(found.to_json())
        elif as_csv:
            emit(clean(to_csv(found)))
        else:
            _show(found)
    finally:
        if html is not None:
            write_whole(html, [page(found)])
            say(f"wrote {html}")
    if not found.complete:
        say(f"interrupted after {found.windows} of {counted(found.every_window, 'window')}")
        say(_how_to_go_on(options["folder"]))
        raise click.exceptions.Exit(130)


def _how_to_go_on(folder: str | None) -> str:
    if folder is None:
        return "nothing is kept; with --folder DIR the same command would go on from here"
    return f"what is done is kept in {folder}: the same command goes on from here"


def _show(found: Sweep) -> None:
    from qformat.evaluate.sweep_table import cells

    headers, rows = cells(found)
    show(table(rows, headers, right=range(1, len(headers))))
    show()
    p = found.protocol
    how = f"protocol {p.name}, windows of {p.ctx}, {p.dtype}"
    show(
        f"{counted(found.tokens, 'token')} in {counted(found.windows, 'window')} ({how}); "
        "± is half of the 95% interval"
    )
    if any(row.quiz for row in found.rows) and found.quiz is not None:
        asked = f"{counted(len(found.quiz.questions), 'question')} of {line(found.quiz.path)}"
        show(f"{asked} by the text's likelihood; lost are right in the original only, gained here only")
    if any(row.speed for row in found.rows):
        show(f"tokens/s of new text in {found.speed}, in turn with the original: median (least to most)")
