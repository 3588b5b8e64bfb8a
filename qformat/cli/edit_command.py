"""``qformat edit``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from qformat.cli.progress import bar
from qformat.cli.text import line, say, show, show_json, size, table

SCHEMA = 1

_EXAMPLE = """
\b
Examples:
  qformat edit model.gguf --set general.name='My model' --set llama.rope.freq_base=500000
  qformat edit model.gguf --set-file tokenizer.chat_template=template.jinja --dry-run
  qformat edit model.gguf --set my.numbers:uint16[]='[1, 2, 3]' --delete general.url
  qformat edit model-4bit.safetensors --set licence=MIT
"""


@click.command(epilog=_EXAMPLE)
@click.argument("path", metavar="FILE", type=click.Path())
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Give a key a value; KEY:type=VALUE (uint32, float32, string[] …) chooses the type.",
)
@click.option(
    "--set-file",
    "files",
    multiple=True,
    metavar="KEY=FILE",
    help="Give a key the text of a file as its value.",
)
@click.option("--delete", multiple=True, metavar="KEY", help="Remove a key.")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="Write an edited copy and leave the input as it is.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no report.")
def edit(path: str, **options: Any) -> None:
    """Change a file's metadata: a GGUF's key-values, or the metadata of a safetensors file.

    A key that is there keeps its type. A new one becomes a bool, an integer, a float32 or a string,
    whatever its value looks like, unless it names its type. Arrays are written as JSON.

    Of a container in several files, given by its folder, all change in place, or none. A single
    file: what fits is written in place; otherwise the file is copied and takes its own place when the copy
    is complete. Neither Ctrl-C nor a kill leaves it half changed. Tensors are never touched, and an
    edit that would break the file is refused.
    """
    from qformat.files.editing import edit as change

    values = dict(_pairs(options["settings"], "--set"))
    for key, name in _pairs(options["files"], "--set-file"):
        if key in values:
            raise click.UsageError(f"{line(key)} is given twice.")
        values[key] = _text_of(Path(name))
    if len(values) != len(options["settings"]) + len(options["files"]):
        raise click.UsageError("A key is given twice.")
    with bar("copying", _size(path), quiet=options["quiet"] or options["as_json"]) as progress:
        found = change(
            path,
            values,
            delete=options["delete"],
            as_text=True,
            output=options["output"],
            overwrite=options["overwrite"],
            dry_run=options["dry_run"],
            progress=progress,
        )
    if not (found.recovered or values or options["delete"] or options["output"]):
        raise click.UsageError("Say what to change: --set KEY=VALUE, --delete KEY.")
    if options["as_json"]:
        show_json(_json(found))
    elif not options["quiet"]:
        if found.recovered:
            say("an edit that was cut short was undone first")
        _show(found)


def _pairs(texts: Iterable[str], option: str) -> Iterable[tuple[str, str]]:
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        yield key, value


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--set-file") from None
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path} is not UTF-8: {error.reason}", param_hint="--set-file") from None


def _size(path: str) -> int:
    return Path(path).stat().st_size if Path(path).is_file() else 0


def _show(found: Any) -> None:
    if not found.changes:
        show(f"{line(found.path)}: {'copied' if found.written else 'nothing changes'}")
        return
    rows = [(c.key, c.type, _cell(c.before), _cell(c.after)) for c in found.changes]
    show(table(rows, ["key", "type", "before", "after"]))
    show()
    how = "in place" if found.in_place else f"written anew, {size(found.nbytes)}"
    show(f"{line(found.path)}: {how}{'' if found.written else ' (dry run: nothing was written)'}")


def _cell(text: str | None) -> str:
    if text is None:
        return "–"
    return text if len(text) <= 60 else f"{text[:59]}…"


def _json(found: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "path": str(found.path),
        "format": found.format,
        "changes": [
            {"key": c.key, "type": c.type, "before": c.before, "after": c.after} for c in found.changes
        ],
        "in_place": found.in_place,
        "written": found.written,
        "recovered": found.recovered,
        "bytes_before": found.nbytes_before,
        "bytes": found.nbytes,
    }
