"""``qformat schemes``."""

from __future__ import annotations

from typing import Any

import click

from qformat.cli.text import line, say, show, show_json, table

SCHEMA = 1

_EXAMPLE = """
\b
Examples:
  qformat schemes
  qformat schemes asym4
"""


@click.command(epilog=_EXAMPLE)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def schemes(name: str | None, as_json: bool) -> None:
    """List the schemes that there are; with NAME, one with its options and planes."""
    from qformat.schemes.registry import registry

    known = registry()
    for plugin in known.plugins:
        if plugin.state != "OK":
            why = line(plugin.error or plugin.shadowed)
            say(
                f"warning: plugin {line(plugin.name)} is {plugin.state}: {why} (`qformat plugins` tells more)"
            )
    if name is not None:
        _show_one(known, name, as_json)
        return
    found = [(kind, plugin) for kind, plugin in known.schemes()]
    if as_json:
        mixed = [{"id": m.id, "summary": m.summary} for m in known.mixtures()]
        show_json({"schema": SCHEMA, "schemes": [_json(k(), p) for k, p in found], "mixtures": mixed})
        return
    rows = [(k.id, f"{k().bpw:.3f}", k().block_size, _what(k), p.distribution) for k, p in found]
    show(table(rows, ["scheme", "bpw", "block", "what it is", "from"], right=(1, 2)))
    show()
    show("mixtures for GGUF (-s NAME): " + ", ".join(m.id for m in known.mixtures()))


def _what(kind: Any) -> str:
    return kind.summary if kind.encodes else f"{kind.summary}; decodes only"


def _show_one(known: Any, name: str, as_json: bool) -> None:
    from qformat.blocks.layout import planes
    from qformat.cli.describe import describe_leaf

    scheme = known.parse(name)
    plugin = next(p for k, p in known.schemes() if k.id == scheme.id)
    if as_json:
        show_json({"schema": SCHEMA, "scheme": _json(scheme, plugin)})
        return
    show(
        f"{scheme.spec()}  version {scheme.version}, from {line(plugin.distribution)} {line(plugin.version)}"
    )
    show(scheme.summary)
    show(f"{scheme.bpw:.3f} bits per weight in blocks of {scheme.block_size}")
    options = scheme.option_help()
    if options:
        show()
        rows = [(n, ", ".join(map(str, allowed)), default, help_) for n, help_, allowed, default in options]
        show(table(rows, ["option", "values", "default", "what it is"]))
    show()
    rows = [
        (p.name, describe_leaf(p.item), p.span, f"{p.bits_per_element:.4f}") for p in planes(scheme.layout())
    ]
    show(table(rows, ["plane", "item", "one per", "bpw"], right=(2, 3)))


def _json(scheme: Any, plugin: Any) -> dict[str, Any]:
    from qformat.blocks.descriptor import layout_to_json

    return {
        "id": scheme.id,
        "version": scheme.version,
        "summary": scheme.summary,
        "encodes": scheme.encodes,
        "bits_per_weight": round(scheme.bpw, 4),
        "block": scheme.block_size,
        "options": [
            {"name": n, "help": h, "values": list(allowed), "default": default}
            for n, h, allowed, default in scheme.option_help()
        ],
        "layout": layout_to_json(scheme.layout()),
        "distribution": plugin.distribution,
        "distribution_version": plugin.version,
    }
