"""What an edit of metadata is, whatever the format."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Edit:
    """A key that is to have a value, or with ``delete`` is to go.

    ``type`` names the value's type; without it a key keeps its own, and that of a new one follows
    from the value, or with ``as_text`` from what its text looks like.
    """

    key: str
    value: Any = None
    type: str | None = None
    as_text: bool = False
    delete: bool = False


@dataclass(frozen=True)
class Change:
    """What an edit does to one key: ``before`` is None for a new one, ``after`` for one that goes."""

    key: str
    type: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class NewHead:
    """What is to stand in place of a file's first ``replaces`` bytes."""

    data: bytes
    replaces: int
    changes: tuple[Change, ...]
    path: Path

    @property
    def fits(self) -> bool:
        """Whether it can be written in place."""
        return len(self.data) == self.replaces


def split_key(key: str, known: Container[str]) -> tuple[str, str | None]:
    """The key and the type of ``KEY:type``; a key that is there may have a colon of its own.

    >>> split_key("a:u32", {}), split_key("a:b", {"a:b"}), split_key("a", {})
    (('a', 'u32'), ('a:b', None), ('a', None))
    """
    name, colon, kind = key.rpartition(":")
    return (name, kind) if colon and key not in known else (key, None)


def closest(key: str, known: Iterable[str]) -> str:
    """A hint that names the keys most like one that is not there."""
    import difflib

    near = difflib.get_close_matches(key, list(known), 3)
    return f"did you mean {' or '.join(near)}?" if near else "`qformat inspect --metadata` lists the keys"
