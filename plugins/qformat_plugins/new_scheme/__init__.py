"""``qformat new-scheme``: a package with a scheme that works, to put an idea into."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import click

from qformat.plugins import API_VERSION, hookimpl

TEMPLATE = Path(__file__).parent / "template"
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")

_EXAMPLE = """
\b
Example:
  qformat new-scheme mine
  qformat --plugin mine/mine.py convert MODEL model.safetensors -s mine
"""


@click.command("new-scheme", epilog=_EXAMPLE)
@click.argument("name")
@click.option(
    "--into", type=click.Path(path_type=Path), default=Path(), help="Make the package in this folder."
)
def new_scheme(name: str, into: Path) -> None:
    """Write a package with a scheme that works as it stands: change its formulas into yours.

    NAME is the scheme's id, such as `mine`: small letters, digits, - and _.
    """
    folder = write(name, into)
    module = name.replace("-", "_")
    click.echo(f"made {folder}; next:", err=True)
    click.echo(f"  qformat --plugin {folder / module}.py schemes {name}", err=True)
    click.echo(f"  QFORMAT_PLUGINS={folder / module}.py pytest {folder}", err=True)
    click.echo(str(folder))


def write(name: str, into: Path) -> Path:
    """Write the package for a scheme of that name; returns its folder.

    Raises
    ------
    SchemeError
        If the name is not possible, or taken by a scheme that is installed.
    TargetError
        If there is something in the folder's place, or it cannot be made.
    """
    from qformat.errors import SchemeError, TargetError, unwritable
    from qformat.files.writing import staged
    from qformat.schemes.registry import registry

    if not _NAME.fullmatch(name):
        raise SchemeError(
            f"{name!r} cannot be a scheme's name", hint="small letters and digits, as in my-scheme"
        )
    for kind, plugin in registry().schemes():
        if kind.id == name:
            raise SchemeError(
                f"{name!r} is a scheme already, from {plugin.label}", hint="choose another name"
            )
    folder = into / name
    if folder.exists():
        raise TargetError(
            "there is something already", file=folder, hint="choose another name, or --into FOLDER"
        )
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    with staged(folder, folder=True, overwrite=False) as stage:
        for target, text in _rendered(name).items():
            (stage / target).write_text(text, encoding="utf-8")
    return folder


def _rendered(name: str) -> dict[str, str]:
    """The package's files by their names."""
    import jinja2

    from qformat.version import VERSION

    module = name.replace("-", "_")
    words = {
        "name": name,
        "module": module,
        "kind": "".join(part.capitalize() for part in module.split("_")),
        "api": API_VERSION,
        "version": VERSION,
    }
    loader = jinja2.FileSystemLoader(TEMPLATE)
    environment = jinja2.Environment(  # noqa: S701  Python and TOML, not HTML
        loader=loader, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    found = {}
    for template in environment.list_templates():
        target = template.removesuffix(".j2").replace("MODULE", module)
        found[target] = environment.get_template(template).render(words)
    return found


@hookimpl
def qformat_commands() -> Iterable[click.Command]:
    return (new_scheme,)
