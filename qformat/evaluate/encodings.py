"""The files that a sweep compares: each scheme's version of the original, made once and kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qformat.blocks.layout import RawBlocks
from qformat.convert.recipe import CASTS
from qformat.convert.verbs import convert
from qformat.errors import QFormatError
from qformat.evaluate.page import write_whole
from qformat.files.checkpoint import Checkpoint
from qformat.files.opening import open_checkpoint
from qformat.schemes.registry import registry


@dataclass(frozen=True)
class Encoding:
    """One scheme's version of the original. ``errors`` are relative RMSEs by tensor."""

    scheme: str
    checkpoint: Checkpoint
    nbytes: int
    bpw: float
    errors: dict[str, float]


def form(scheme: str) -> str:
    """The format that a scheme is written in: GGUF for its types and mixtures, safetensors for casts.

    Raises
    ------
    SchemeError
        If there is no such scheme.
    """
    if scheme in CASTS:
        return "safetensors"
    if registry().mixture(scheme) is not None:
        return "gguf"
    return "gguf" if isinstance(registry().parse(scheme).layout(), RawBlocks) else "qformat"


def encode(
    original: Checkpoint, digest: str, scheme: str, folder: Path, progress: Callable[[int, str], None] | None
) -> Encoding:
    """Make a scheme's file in a folder, or take the one that an earlier sweep of this original left there."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", scheme)
    kind = form(scheme)
    target = folder / (name + {"gguf": ".gguf", "qformat": ".safetensors", "safetensors": ""}[kind])
    notes = folder / f"{name}.json"
    known = _read(notes)
    if known.get("source") != digest or known.get("scheme") != scheme or not target.exists():
        options: dict[str, Any] = {"dtype": CASTS[scheme]} if scheme in CASTS else {"scheme": scheme}
        report = convert(original.path, target, to=kind, overwrite=True, progress=progress, **options)
        errors = {r.name: r.figures.rmse for r in report.rows if r.figures is not None}
        known = {
            "source": digest,
            "scheme": scheme,
            "bytes": report.nbytes,
            "bpw": report.bpw,
            "errors": errors,
        }
        write_whole(notes, [json.dumps(known)])
    return Encoding(scheme, open_checkpoint(target), known["bytes"], known["bpw"], known["errors"])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def check(schemes: list[str]) -> None:
    """Refuse unknown and repeated schemes before anything is encoded."""
    if not schemes:
        raise QFormatError("a sweep compares at least one scheme", hint="such as -s asym4 -s q4_k_m")
    for scheme in schemes:
        form(scheme)
    twice = next((s for s in schemes if schemes.count(s) > 1), None)
    if twice is not None:
        raise QFormatError(f"{twice} is given twice")
