"""``qformat plugins``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qformat.cli.text import counted, line, say, show, show_json, table

if TYPE_CHECKING:
    from qformat.plugins.host import PluginInfo

SCHEMA = 1
_SHOWN = 4

_EXAMPLE = """
\b
Examples:
  qformat plugins
  qformat --plugin ./my_scheme.py plugins
"""


@click.command(epilog=_EXAMPLE)
@click.option("--errors", is_flag=True, help="Show why plugins did not load, in full.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def plugins(errors: bool, as_json: bool) -> None:
    """List the plugins, what each provides, and those that did not load."""
    found = _asked_everything()
    if as_json:
        show_json({"schema": SCHEMA, "plugins": [_json(p) for p in found]})
        return
    rows = [(p.name, p.state, p.version, p.distribution, _gives(p), f"{p.seconds * 1000:.1f}") for p in found]
    show(table(rows, ["plugin", "state", "version", "from", "gives", "ms"], right=(5,)))
    troubled = [p for p in found if p.state != "OK"]
    for plugin in troubled:
        show(f"\n{line(plugin.label)} is {plugin.state}: {line(plugin.error or plugin.shadowed)}")
        if errors and plugin.trace:
            show(plugin.trace)
    if any(p.trace for p in troubled) and not errors:
        say("`qformat plugins --errors` shows where they failed")


def _asked_everything() -> list[PluginInfo]:
    """All plugins, after each of their hooks was asked, so that what does not work shows."""
    from qformat.cli import added
    from qformat.families.registry import from_plugins
    from qformat.files.format import formats
    from qformat.inspect.panel import panels
    from qformat.plugins.host import host
    from qformat.schemes.registry import registry

    registry()
    list(formats())
    from_plugins()
    panels()
    list(host().ask("qformat_commands", added.check))
    return host().plugins


def _gives(plugin: PluginInfo) -> str:
    """Its schemes, the first few by name, and its other hooks."""
    shown = list(plugin.schemes[:_SHOWN])
    if len(plugin.schemes) > _SHOWN:
        shown.append(counted(len(plugin.schemes) - _SHOWN, "more scheme"))
    shown += [hook.removeprefix("qformat_") for hook in plugin.hooks if hook != "qformat_schemes"]
    return ", ".join(shown)


def _json(plugin: PluginInfo) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "origin": plugin.origin,
        "state": plugin.state,
        "schemes": plugin.schemes,
        "hooks": plugin.hooks,
        "milliseconds": round(plugin.seconds * 1000, 1),
        "error": plugin.error or plugin.shadowed,
        "trace": plugin.trace,
    }
