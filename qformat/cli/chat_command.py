"""``qformat chat``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qformat.cli.chat_view import show_remarks, viewer
from qformat.cli.text import say, show, show_json
from qformat.errors import FormatError

if TYPE_CHECKING:
    from qformat.model.chat import Conversation
    from qformat.model.reply import Reply

SCHEMA = 1

_EXAMPLE = """
\b
Examples:
  qformat chat ./Llama-3.2-1B-Instruct
  qformat chat llama-2bit.gguf --against ./Llama-3.2-1B-Instruct --prompt 'Why is the sky blue?'
  echo 'Once upon a time' | qformat chat stories.gguf --raw --max-new 100

\b
In a conversation: /reset begins anew, /quit or Ctrl-D ends, Ctrl-C stops an answer and keeps it.
"""


@click.command(epilog=_EXAMPLE)
@click.argument("model", type=click.Path())
@click.option("--against", metavar="ORIGINAL", type=click.Path(), help="Let this model answer beside it.")
@click.option(
    "--prompt", "prompts", multiple=True, metavar="TEXT", help="Say this and end; several are turns."
)
@click.option("--system", metavar="TEXT", help="A system message to begin with.")
@click.option(
    "--max-new", type=click.IntRange(1), default=512, show_default=True, help="Tokens of an answer."
)
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=click.IntRange(0), default=0, help="Only the k likeliest tokens; 0 is all.")
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Likeliest up to this."
)
@click.option(
    "--min-p", type=click.FloatRange(0, 1), default=0.0, help="At least this share of the likeliest."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the sampling.")
@click.option("--raw", is_flag=True, help="No chat template: go on from the text as it is.")
@click.option("--template", type=click.Path(path_type=Path), metavar="FILE", help="A chat template to use.")
@click.option(
    "--dtype",
    type=click.Choice(["f32", "bf16"]),
    default="f32",
    show_default=True,
    help="Type of the weights.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all answers as JSON at the end.")
def chat(model: str, against: str | None, **options: Any) -> None:
    """Talk with a model, or with a model and its original side by side.

    Without --prompt, turns are read from the terminal, or a line each from stdin. With --against
    the first token at which the answers part is shown. Answers that repeat themselves or are empty
    are told. Templates run confined; nothing that a model says can act on the terminal.
    """
    from qformat.model.reply import parting_words

    talks = [_conversation(m, options) for m in ([model] if against is None else [against, model])]
    labels = [str(t.model.checkpoint.path) for t in talks]
    sampling = {k: options[k] for k in ("max_new", "temperature", "top_k", "top_p", "min_p", "seed")}
    turns = []
    for text in options["prompts"] or _turns():
        if text == "/reset":
            for talk in talks:
                talk.reset()
            continue
        replies = _answer(talks, labels, text, sampling, quiet=options["as_json"])
        turns.append(_json(labels, text, replies))
        if not options["as_json"]:
            show_remarks(labels, replies)
            if len(replies) == 2:
                show(parting_words(*replies))
    if options["as_json"]:
        show_json({"schema": SCHEMA, "models": labels, "sampling": sampling, "turns": turns})


def _conversation(source: str, options: dict[str, Any]) -> Conversation:
    from qformat.model.chat import open_conversation
    from qformat.model.chat_template import TemplateError

    template = None if options["template"] is None else _read(options["template"])
    talk = open_conversation(source, options["dtype"], template=template, raw=options["raw"])
    if talk.template is None and not options["raw"]:
        raise TemplateError(
            "the model has no chat template", file=source,
            hint="--raw goes on from the text as it is, --template FILE takes a template",
        )  # fmt: skip
    talk.system = options["system"]
    return talk


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror}", file=path) from None
    except UnicodeDecodeError as error:
        raise FormatError(f"it is not UTF-8: {error.reason}", file=path, offset=error.start) from None


def _turns() -> Iterator[str]:
    """What is typed, or the lines of stdin."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        return
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives input() a history and editing
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            return
        if text in ("/quit", "/exit"):
            return
        if text.startswith("/") and text != "/reset":
            say("known are /reset and /quit")
        elif text:
            yield text


def _answer(
    talks: list[Conversation], labels: list[str], text: str, sampling: dict[str, Any], *, quiet: bool
) -> list[Reply]:
    from qformat.model.chat import side_by_side

    with viewer(labels, quiet=quiet) as show:
        replies = side_by_side([t.reply(text, **sampling) for t in talks], show)
    if all(r.end == "interrupted" and not r.ids for r in replies):
        raise KeyboardInterrupt
    return replies


def _json(labels: list[str], text: str, replies: list[Reply]) -> dict[str, Any]:
    from qformat.model.reply import parting

    found: dict[str, Any] = {
        "prompt": text,
        "replies": [{"model": m, **r.to_json()} for m, r in zip(labels, replies, strict=True)],
    }
    if len(replies) == 2:
        found["parts_at"] = parting(*replies)
    return found
