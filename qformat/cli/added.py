"""Commands that plugins add: their names are known from metadata, so that help loads no plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qformat.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from qformat.plugins.host import Host

GROUP = "qformat.commands"  # entry points: a command's name = the module whose hook gives it


def names() -> dict[str, str]:
    """The names of the installed plugins' commands, with the distribution of each."""
    return {name: entry.dist.name if entry.dist else entry.value for name, entry in _entries().items()}


def command(name: str) -> click.Command | None:
    """A plugin's command; loads the one plugin that has it, or the files that were named.

    Raises
    ------
    PluginError
        If the plugin does not work.
    """
    from qformat.plugins.host import Host, host, named_files

    if entry := _entries().get(name):
        only = Host(installed=[entry])
        found = _find(only, name)
        if found is None:
            why = only.plugins[0].error or f"its hook qformat_commands gives no command {name!r}"
            raise PluginError(
                f"the command {name!r} of {only.plugins[0].label} could not be loaded: {why}",
                hint="`qformat plugins --errors` shows more",
            )
        return found
    return _find(host(), name) if named_files() else None


def _find(plugins: Host, name: str) -> click.Command | None:
    return next((c for _, c in plugins.ask("qformat_commands", check) if c.name == name), None)


def _entries() -> dict[str, EntryPoint]:
    """By name; the first of a name counts, ours before others'."""
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP)
    ours_last = sorted(found, key=lambda e: (e.dist is not None and e.dist.name == "qformat", e.name))
    return {entry.name: entry for entry in ours_last}


def check(command: object) -> None:
    """Refuse what is not a command."""
    if not isinstance(command, click.Command) or not command.name:
        raise PluginError(f"qformat_commands gave {command!r}, which is not a click command with a name")
