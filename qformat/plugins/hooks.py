"""The hooks by which plugins give the program what they have."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

    from qformat.families.family import Family
    from qformat.files.format import FileFormat
    from qformat.inspect.panel import Panel
    from qformat.schemes.mixture import Mixture
    from qformat.schemes.scheme import Scheme

GROUP = "qformat"
# The version of everything that a plugin sees; it rises when a plugin written for the one before may fail.
API_VERSION = 1
OLDEST_API_VERSION = 1  # for which plugins still work

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """The hook specifications."""

    @hookspec
    def qformat_schemes(self) -> Iterable[type[Scheme]]:
        """Return the scheme classes that this plugin provides."""
        raise AssertionError("a specification is never called")

    @hookspec
    def qformat_mixtures(self) -> Iterable[Mixture]:
        """Return the named mixtures of schemes that this plugin provides."""
        raise AssertionError("a specification is never called")

    @hookspec
    def qformat_formats(self) -> Iterable[FileFormat]:
        """Return the file formats that this plugin opens."""
        raise AssertionError("a specification is never called")

    @hookspec
    def qformat_families(self) -> Iterable[Family]:
        """Return the tensor families, one per architecture, that this plugin knows."""
        raise AssertionError("a specification is never called")

    @hookspec
    def qformat_commands(self) -> Iterable[click.Command]:
        """Return the commands that this plugin adds to the command line."""
        raise AssertionError("a specification is never called")

    @hookspec
    def qformat_panels(self) -> Iterable[Panel]:
        """Return the panels that this plugin adds to the views of a tensor and of a block."""
        raise AssertionError("a specification is never called")


def names() -> list[str]:
    """The hooks' names.

    >>> names()[0]
    'qformat_schemes'
    """
    return [name for name in vars(Hooks) if name.startswith(GROUP + "_")]


def signature(name: str) -> str:
    """A hook as a plugin writes it: ``def name() -> what``."""
    spec = getattr(Hooks, name)
    return f"def {name}() -> {inspect.signature(spec).return_annotation}"
