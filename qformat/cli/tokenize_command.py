"""``qformat tokenize``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qformat.cli.text import counted, emit, show, show_json
from qformat.errors import FormatError
from qformat.text import quoted

if TYPE_CHECKING:
    from qformat.model.tokenizer import Tokenizer

SCHEMA = 1

_EXAMPLE = """
\b
Examples:
  qformat tokenize ./Llama-3.2-1B 'How many tokens are these?'
  qformat tokenize llama-q4.gguf --file prompt.txt --special --ids
  echo 'From a pipe' | qformat tokenize llama-q4.gguf
"""

_COLOURS = ("cyan", "green", "yellow")


@click.command(epilog=_EXAMPLE)
@click.argument("model", type=click.Path())
@click.argument("text", required=False)
@click.option("-f", "--file", type=click.Path(path_type=Path), metavar="FILE", help="Text from a UTF-8 file.")
@click.option("--special", is_flag=True, help="Take <|im_end|> and its like in the text for control tokens.")
@click.option("--plain", is_flag=True, help="Without the tokens that are put around a text.")
@click.option("--ids", is_flag=True, help="Print only the ids, on one line.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def tokenize(model: str, text: str | None, file: Path | None, **options: Any) -> None:
    """Show the tokens of a text, as MODEL's own tokenizer has them.

    MODEL is a checkpoint of any format with a tokenizer: a folder, a GGUF, a container. The text is
    TEXT, that of --file, or what comes on stdin.
    """
    from qformat.model.tokenizer_loading import load_tokenizer

    if text is not None and file is not None:
        raise click.UsageError("TEXT and --file exclude each other.")
    if text is None:
        text = _read(file)
    tokenizer = load_tokenizer(model)
    ids = tokenizer.encode(text, add_special=not options["plain"], parse_special=options["special"])
    if options["as_json"]:
        show_json(_json(model, tokenizer, text, ids))
    elif options["ids"]:
        show(" ".join(map(str, ids)))
    else:
        for row in _rows(tokenizer, ids):
            emit(row + "\n")
        show(_summary(tokenizer, text, ids))


def _read(file: Path | None) -> str:
    try:
        if file is None:
            if sys.stdin.isatty():
                raise click.UsageError("Give a TEXT, --file FILE, or pipe a text in.")
            return sys.stdin.buffer.read().decode("utf-8")
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"the text is not UTF-8: {error.reason}", file=file or "stdin", offset=error.start
        ) from None
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror}", file=file) from None


def _rows(tokenizer: Tokenizer, ids: list[int]) -> Iterator[str]:
    wide = max([2, *(len(str(i)) for i in ids)])
    places = len(str(len(ids)))
    for at, (number, piece) in enumerate(zip(ids, tokenizer.pieces(ids), strict=True)):
        control = number in tokenizer.controls
        colour = "magenta" if control else _COLOURS[at % len(_COLOURS)]
        yield f"{at:>{places}}  {number:>{wide}}  {click.style(quoted(piece), fg=colour, bold=control)}"


def _per_token(text: str, ids: list[int]) -> float | None:
    return len(text.encode(errors="replace")) / len(ids) if ids else None


def _summary(tokenizer: Tokenizer, text: str, ids: list[int]) -> str:
    size, rate = len(text.encode(errors="replace")), _per_token(text, ids)
    rates = f", {rate:.2f} bytes per token" if rate is not None else ""
    return (
        f"{counted(len(ids), 'token')} of {counted(size, 'byte')}{rates}; a vocabulary of {tokenizer.size:,}"
    )


def _json(model: str, tokenizer: Tokenizer, text: str, ids: list[int]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": model,
        "vocabulary": {
            "size": tokenizer.size,
            "digest": tokenizer.digest,
            "bos": tokenizer.bos,
            "eos": sorted(tokenizer.eos),
            "adds_bos": tokenizer.adds_bos,
            "adds_eos": tokenizer.adds_eos,
        },
        "bytes": len(text.encode(errors="replace")),
        "count": len(ids),
        "bytes_per_token": _per_token(text, ids),
        "tokens": [
            {"id": i, "piece": piece.decode(errors="backslashreplace"), "control": i in tokenizer.controls}
            for i, piece in zip(ids, tokenizer.pieces(ids), strict=True)
        ],
    }
