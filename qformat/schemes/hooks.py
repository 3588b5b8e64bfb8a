"""The hooks by which plugins give the program what they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qformat.schemes.mixture import Mixture
    from qformat.schemes.scheme import Scheme

GROUP = "qformat"
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
