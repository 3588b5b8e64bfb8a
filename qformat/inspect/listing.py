"""Lists of tensors: order, filters, groups, and what stands in a row."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import Any

from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.text import shape

_DIGITS = re.compile(r"(\d+)")


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts layers.2 before layers.10."""
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in _DIGITS.split(name)]


def recorded_error(info: TensorInfo) -> float:
    """The relative error that a file records of a tensor, or -1."""
    try:
        return float(info.note["error"]["rmse"]) if info.note else -1.0
    except (KeyError, TypeError, ValueError):
        return -1.0


SORTS: dict[str, Callable[[TensorInfo], Any] | None] = {
    "file": None,
    "name": lambda t: natural(t.name),
    "bytes": lambda t: -t.nbytes,
    "elements": lambda t: -t.elements,
    "bpw": lambda t: -t.bpw,
    "scheme": lambda t: t.coding,
    "error": lambda t: -recorded_error(t),
}


def chosen(checkpoint: Checkpoint, pattern: str | None, sort: str, limit: int | None) -> list[TensorInfo]:
    """Tensors whose name contains a text, or matches it as a glob; in an order of `SORTS`."""
    tensors: Iterable[TensorInfo] = checkpoint.tensors.values()
    if pattern is not None:
        tensors = (t for t in tensors if pattern in t.name or fnmatch.fnmatchcase(t.name, pattern))
    key = SORTS[sort]
    found = list(tensors) if key is None else sorted(tensors, key=key)
    return found[:limit]


HEADERS = ("tensor", "shape", "type", "scheme", "bytes", "bpw", "rel. RMSE")


def cells(info: TensorInfo) -> list[str]:
    """A tensor's row under `HEADERS`."""
    error = recorded_error(info)
    return [
        info.name,
        shape(info.shape),
        info.dtype,
        info.scheme.id if info.scheme else "-",
        f"{info.nbytes:,}",
        f"{info.bpw:.3f}",
        f"{error:.4f}" if error >= 0 else "",
    ]


def fuzzy(pattern: str) -> Callable[[str], bool]:
    """A filter for names that have the pattern's characters in this order; a glob if it has ``*``.

    >>> keep = fuzzy("l2 up")
    >>> keep("model.layers.2.mlp.up_proj.weight"), keep("model.layers.1.mlp.down_proj.weight")
    (True, False)
    """
    text = pattern.strip().lower()
    if "*" in text or "?" in text:
        glob = re.compile(fnmatch.translate(text if text.startswith("*") else f"*{text}*"))
        return lambda name: glob.match(name.lower()) is not None
    # Every character up to the next wanted one is skipped: no backtracking.
    letters = [c for c in text if not c.isspace()]
    loose = re.compile("".join(f"[^{re.escape(c)}]*{re.escape(c)}" for c in letters))
    return lambda name: loose.match(name.lower()) is not None


def layer_pattern(name: str) -> str:
    """A name with its numbers taken out: what is the same part of each layer.

    >>> layer_pattern("blk.12.attn_q.weight")
    'blk.#.attn_q.weight'
    """
    return re.sub(r"(?<![^._/])\d+(?![^._/])", "#", name)
