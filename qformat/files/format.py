"""A file format that a plugin brings: how to know such a file, and how to open it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qformat.errors import FormatError, PluginError, QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.plugins.guard import Attempt
from qformat.plugins.host import PluginInfo, host


@dataclass(frozen=True)
class FileFormat:
    """``claims`` gets the first 16 bytes (none of a folder) and the path; ``open`` reads headers only.

    Plugins are asked for what no built-in format claims, so that opening the usual loads none.
    """

    name: str
    claims: Callable[[bytes, Path], bool]
    open: Callable[[Path], Checkpoint]


def open_by_plugin(path: Path, head: bytes) -> Checkpoint | None:
    """What the first format of a plugin that claims a path makes of it, or None.

    Raises
    ------
    FormatError
        If the file is damaged, or the plugin fails at it.
    """
    for info, kind in formats():
        claimed, failure = Attempt(functools.partial(kind.claims, head, path), None).outcome()
        if failure is None and not claimed:
            continue
        if failure is None:
            try:
                opened: Checkpoint = kind.open(path)
            except (QFormatError, OSError):
                raise
            except Exception as error:
                raise FormatError(
                    f"the plugin {info.label} failed to open it as {kind.name}: {error}", file=path
                ) from error
            return opened
    return None


def formats() -> Iterator[tuple[PluginInfo, FileFormat]]:
    """The formats of all plugins, each with its plugin."""
    return host().ask("qformat_formats", _check)


def _check(kind: object) -> None:
    if not isinstance(kind, FileFormat):
        raise PluginError(f"qformat_formats gave {kind!r}, which is not a FileFormat")
