"""``qformat plugins``."""

from __future__ import annotations

import click

from qformat.cli.text import show, show_json, table

SCHEMA = 1

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
    from qformat.schemes.registry import registry

    found = registry().plugins
    if as_json:
        rows = [
            {
                "name": p.name,
                "distribution": p.distribution,
                "version": p.version,
                "state": p.state,
                "schemes": p.schemes,
                "milliseconds": round(p.seconds * 1000, 1),
                "error": p.error,
            }
            for p in found
        ]
        show_json({"schema": SCHEMA, "plugins": rows})
        return
    headers = ["plugin", "state", "from", "version", "schemes", "ms"]
    show(
        table(
            [
                (
                    p.name,
                    p.state,
                    p.distribution,
                    p.version,
                    ", ".join(p.schemes) or p.error,
                    f"{p.seconds * 1000:.1f}",
                )
                for p in found
            ],
            headers,
            right=(5,),
        )
    )
    if errors:
        for plugin in found:
            if plugin.trace:
                show(f"\n{plugin.name}:\n{plugin.trace}")
