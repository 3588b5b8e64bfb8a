"""``qformat bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qformat.cli.text import counted, say, show, show_json, size, table

if TYPE_CHECKING:
    from qformat.evaluate.speed import Speeds, Spread

_EXAMPLE = """
\b
Examples:
  qformat bench llama-4bit.safetensors
  qformat bench llama-bf16.gguf llama-q4_k_m.gguf --engine ours --engine llama.cpp
"""


@click.command(epilog=_EXAMPLE)
@click.argument("models", metavar="MODEL…", type=click.Path(), nargs=-1, required=True)
@click.option(
    "--engine", "engines", multiple=True, type=click.Choice(["ours", "llama.cpp", "both"]), default=["ours"],
    show_default=True, help="What runs it; repeat, or both, to let them take turns.",
)  # fmt: skip
@click.option(
    "--prompt-tokens", "prompt", type=click.IntRange(1), metavar="N",
    help="Tokens to read; by default 512, or what fits into the context.",
)  # fmt: skip
@click.option(
    "--new-tokens", "new", type=click.IntRange(2), default=128, show_default=True, metavar="N",
    help="Tokens to make.",
)  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds that count.")
@click.option(
    "--threads", type=click.IntRange(1), metavar="N",
    help="Threads of llama.cpp; by default one for each processor, as ours has.",
)  # fmt: skip
@click.option(
    "--dtype",
    type=click.Choice(["f32", "bf16"]),
    default="f32",
    show_default=True,
    help="What ours computes in.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with every round.")
def bench(models: tuple[str, ...], engines: tuple[str, ...], **options: Any) -> None:
    """Time how fast a model reads a prompt and goes on from it.

    Several models, or one in several engines, are in memory together and take turns, so that what
    disturbs one disturbs all; × is against the first line, round by round. A round that is not counted comes
    first. llama.cpp needs GGUF files and `pip install llama-cpp-python`. Ctrl-C shows what is known so far.
    """
    from qformat.cli.eval_progress import stages
    from qformat.evaluate.runners import RUNNERS
    from qformat.evaluate.speed import speed

    as_json = options.pop("as_json")
    chosen = list(RUNNERS) if "both" in engines else list(dict.fromkeys(engines))
    with stages() as progress:
        found = speed(models, chosen, progress=progress, **options)
    if as_json:
        show_json(found.to_json())
    else:
        _show(found)
    if not found.complete:
        say(f"interrupted: these are {found.done} of {counted(found.repeats, 'round')}")
        raise click.exceptions.Exit(130)


def _show(found: Speeds) -> None:
    headings = ["model", "engine", "weights", "prefill tokens/s", "first token s", "decode tokens/s", "×"]
    rows = [
        [
            t.path,
            t.engine,
            size(t.weight_bytes),
            _spread(t.prefill),
            _spread(t.first_token),
            _spread(t.decode),
            _spread(t.times(found.timed[0])) if i else "1",
        ]
        for i, t in enumerate(found.timed)
    ]
    show(table(rows, headings, right=range(2, 7)))
    show()
    peak = f"; at most {size(found.peak_bytes)} in memory" if found.peak_bytes is not None else ""
    show(
        f"{counted(found.prompt, 'token')} read and {found.new:,} made "
        f"in each of {counted(found.done, 'round')}, "
        f"{counted(found.threads, 'thread')}, ours in {found.dtype}{peak}; median (least to most)"
    )


def _spread(spread: Spread) -> str:
    return f"{_short(spread.median)} ({_short(spread.low)} to {_short(spread.high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
